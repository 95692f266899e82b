"""Search: a goal in, a tested set of features out."""
