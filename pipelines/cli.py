"""`paha reap` and `paha resume`: commands for Dagster runs that Dagster's own command line lacks.

Found by `paha_core.cli` through the entry point group `paha.commands`, so that the library itself
never imports dagster; importing it here happens inside the commands.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dagster as dg


def reap() -> None:
    """End runs whose process was killed (kill -9, out of memory), so that they block nothing."""
    from pipelines.reaper import reap as reap_runs

    with _instance() as instance:
        reaped = reap_runs(instance)
    typer.echo(f"ended {', '.join(reaped)}" if reaped else "nothing to end")


def resume(
    run_id: Annotated[str, typer.Argument(help="Id of a failed run, as the UI shows it.")],
) -> None:
    """Run the failed stages of a failed run again, and what comes after them."""
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    repository = ReconstructableRepository.for_module(
        "pipelines.definitions", "defs", working_directory=str(Path.cwd())
    )
    with _instance() as instance:
        failed = instance.get_run_by_id(run_id)
        if failed is None:
            typer.echo(f"paha: no run {run_id}", err=True)
            raise typer.Exit(1)
        if failed.status != dg.DagsterRunStatus.FAILURE:
            typer.echo(f"paha: run {run_id} has not failed: {failed.status.value}", err=True)
            raise typer.Exit(1)
        job = repository.get_reconstructable_job(failed.job_name)
        options = dg.ReexecutionOptions.from_failure(run_id, instance)
        result = dg.execute_job(job, instance, reexecution_options=options, tags=failed.tags)
    raise typer.Exit(0 if result.success else 1)


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, or of the working directory's dagster.yaml."""
    import dagster as dg

    if not os.environ.get("DAGSTER_HOME"):
        if not Path("dagster.yaml").is_file():
            typer.echo(
                "paha: no dagster.yaml here: go to the project, or set DAGSTER_HOME", err=True
            )
            raise typer.Exit(1)
        os.environ["DAGSTER_HOME"] = str(Path.cwd())
    with dg.DagsterInstance.get() as instance:
        yield instance
