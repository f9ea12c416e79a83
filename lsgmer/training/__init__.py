"""The training loop, its batches, and the state it resumes from."""
