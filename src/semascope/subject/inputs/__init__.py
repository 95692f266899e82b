"""Samples to model inputs, with a map of every position."""
