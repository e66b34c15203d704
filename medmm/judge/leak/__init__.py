"""The leak audit: what tells the answer and is no evidence."""
