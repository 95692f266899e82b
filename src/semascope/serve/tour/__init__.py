"""Guided tours: the player, and a played tour as files."""
