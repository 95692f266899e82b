"""Training dictionaries: batches, losses, the loop, checkpoints, several processes."""
