"""Runs the work of the stages: manifests, worker processes, progress, prefetching."""
