"""LSGMER, its objective, its checkpoint, and the linear baseline."""
