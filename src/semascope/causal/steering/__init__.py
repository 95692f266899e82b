"""Steering: interventions on features, and what they do."""
