"""Answers, token by token, with a cache where it is proved right."""
