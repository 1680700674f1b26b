"""Bytes and rows: folders published atomically, and the database session with its migrations."""
