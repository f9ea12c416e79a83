"""Predictions from a checkpoint, for stored features or raw input."""
