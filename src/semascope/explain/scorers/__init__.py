"""Scorers: how true an explanation is, on samples that no explainer saw."""
