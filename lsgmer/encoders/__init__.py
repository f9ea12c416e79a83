"""Frozen encoders: waveform to frames, text to token embeddings."""
