"""Packaged models: their papers, the champion, and the audit."""
