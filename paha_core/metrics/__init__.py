"""Metrics as pure functions on arrays, one file each; `row.MetricRow` is what a benchmark makes of
them.

The package imports nothing heavy: take what you need from its modules, e.g.
`from paha_core.metrics.frechet import frechet_distance`.
"""
