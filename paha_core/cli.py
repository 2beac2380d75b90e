"""`paha`: the library from a shell. Every command ends with 0, or with one sentence and exit code
1.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from paha_core.commands.adapt import adapt
from paha_core.commands.app import app as page
from paha_core.commands.benchmark import benchmark
from paha_core.commands.corpus import corpus
from paha_core.commands.evaluate import evaluate, report, results
from paha_core.commands.export import export
from paha_core.commands.gc import gc
from paha_core.commands.generate import generate
from paha_core.commands.ingest import ingest
from paha_core.commands.inspect import inspect
from paha_core.commands.plan import plan
from paha_core.commands.pose import pose
from paha_core.commands.preset import presets
from paha_core.commands.serve import serve
from paha_core.commands.shared import (
    PresetOption,
    StoreOption,
    one_sentence,
    print_table,
    run_one,
)
from paha_core.commands.study import study
from paha_core.commands.train import train
from paha_core.commands.weights import licences, weights
from paha_core.errors import UserError
from paha_core.stages import STAGES, Workspace, require_precision, stages_up_to

app = typer.Typer(
    name="paha",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Parts-aware audio-driven human animation: data, training, guidance and benchmark.

    The whole pipeline on the embedded corpus, then a video of your own picture and voice:

        paha run --preset demo

        paha generate --image me.jpg --audio hello.wav --out hello.mp4 --preset demo

    The same stages are assets in Dagster: `make ui`, or `dagster job execute -j full_rebuild`.
    """,
)


@app.callback()
def common(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Debug messages and tracebacks.")
    ] = False,
) -> None:
    """Runs before every command."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    for chatty in ("numba", "matplotlib", "PIL", "fsspec", "asyncio", "alembic", "dagster"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@app.command()
def run(
    stage: Annotated[str, typer.Argument(help="The last stage; all of them if left out.")] = "",
    only: Annotated[
        bool, typer.Option("--only", help="Only that stage, on the existing inputs.")
    ] = False,
    speaker: Annotated[
        list[str] | None,
        typer.Option(help="Only this speaker's clips, from clips to par_masks; repeatable."),
    ] = None,
    preset: PresetOption = "demo",
    store: StoreOption = "",
) -> None:
    """Bring a stage and all it needs up to date, or the whole pipeline. Finished work is not
    repeated.

    Examples:

        paha run                                   everything, with the demo preset

        paha run clips --preset study.yaml         up to ingestion

        paha run keypoints --only                  that stage alone, on the clips there are

        paha run --store s3://bucket/paha          artifacts elsewhere
    """
    with one_sentence():
        from paha_core.weights.check import require

        workspace = Workspace(preset, store)
        wanted = _wanted(stage, only)
        require(workspace.preset, wanted)  # before anything is done, not hours later
        require_precision(workspace.preset, wanted)
        for name in wanted:
            run_one(name, preset, store, speaker or ())


def _wanted(stage: str, only: bool) -> list[str]:
    if not stage:
        if only:
            raise UserError("--only needs a stage")
        return list(STAGES)
    return [stage] if only else stages_up_to(stage)


@app.command()
def status(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """List the stages: which are done, and how many clips were kept and rejected."""
    with one_sentence():
        from paha_core.stages.status import rows

        workspace = Workspace(preset, store)
        print_table(
            f"{workspace.preset.name} in {workspace.store.url}",
            ("stage", "part", "kept", "rejected", "state"),
            rows(workspace.store, workspace.preset),
        )


for command in (
    pose,
    generate,
    adapt,
    export,
    inspect,
    evaluate,
    benchmark,
    report,
    results,
    plan,
    gc,
    licences,
    serve,
):
    app.command()(command)
app.command("app")(page)
app.add_typer(corpus, name="corpus")
app.add_typer(ingest, name="ingest")
app.add_typer(train, name="train")
app.add_typer(weights, name="weights")
app.add_typer(presets, name="preset")
app.add_typer(study, name="study")


def main() -> None:
    """The entry point. Other packages add commands (`reap`, `resume`) under `paha.commands`."""
    for entry in entry_points(group="paha.commands"):
        app.command(entry.name)(entry.load())
    app()


if __name__ == "__main__":
    main()
