"""A workspace from outside: what DVC says of it, copies, the run lock, how a run ended."""
