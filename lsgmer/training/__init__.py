"""The training loop, what it reads, and the state it resumes from."""
