"""What the commands of `lsgmer` do; each module is imported when its command runs."""
