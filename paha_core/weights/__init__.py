"""Networks from elsewhere: where each is, its licence, and whether it is here unchanged."""
