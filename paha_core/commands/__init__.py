"""The commands of `paha`, one module a subject. Heavy imports are inside: `--help` is quick."""
