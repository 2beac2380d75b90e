"""An HTTP API that generates videos, one after the other, with the model loaded once."""
