"""Datasets of records: every file format that holds them, and one record to one ``Sample``."""
