"""The reader: the model itself says in words what its activations hold."""
