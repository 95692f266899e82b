"""Ratings by people, and how far raters agree."""
