"""Explainers: from a feature's exemplars to words."""
