"""The Dagster assets, made from the library's list of stages; they call `paha_core.stages`."""
