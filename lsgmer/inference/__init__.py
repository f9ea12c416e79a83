"""Predictions from a checkpoint."""
