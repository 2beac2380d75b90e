"""The Dagster assets, built from the library's list of stages; they call `paha_core.stages`."""
