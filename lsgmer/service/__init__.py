"""What the running service and the command line share: the log of predictions, and API keys."""
