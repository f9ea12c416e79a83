"""The bodies of the `lsgmer` commands; each module is imported only when its command runs."""
