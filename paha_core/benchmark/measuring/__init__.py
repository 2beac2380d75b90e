"""From videos to metric values."""
