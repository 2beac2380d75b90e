"""The training tasks, one file per network."""
