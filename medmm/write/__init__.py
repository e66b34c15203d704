"""Predictions to files that others read: Parquet and CSV."""
