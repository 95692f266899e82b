"""The atlas's tables, in SQLite or PostgreSQL, and their migrations."""
