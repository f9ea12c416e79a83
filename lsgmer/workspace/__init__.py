"""Managing a workspace: its state according to DVC, copies of it, the run lock, and the outcome of a run."""
