"""Table 4: a blind user study of evaluated systems, from its page to its preferences."""
