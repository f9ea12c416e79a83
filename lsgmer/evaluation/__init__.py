"""Metrics on the test part, the comparison with the champion, the report."""
