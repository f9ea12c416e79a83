"""Metrics on the test split, the comparison with the champion, and the report."""
