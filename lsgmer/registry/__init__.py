"""Packaged models: their records, the champion, and the audit."""
