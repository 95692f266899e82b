"""One thread owns the model; a fair queue stands before it."""
