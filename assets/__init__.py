"""The Dagster assets, one module a stage, in pipeline order. Thin: they call `paha_core.stages`."""
