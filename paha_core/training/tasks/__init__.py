"""What each network learns: one training task a file."""
