"""Gathering evidence: one pass over a corpus, for all features."""
