"""What was predicted, refused and decided, in SQLite or another database."""
