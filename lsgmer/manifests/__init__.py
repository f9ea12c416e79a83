"""Utterances, their splits, and the manifest before and after validation."""
