"""Rows of downstream tasks, read."""
