"""`paha`: the library from a shell. Every command ends with 0, or with one sentence and exit code
1.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml

from paha_core.progress import Progress
from paha_core.step_report import StepError, StepReport, is_expected, is_interruption
from paha_core.steps import STEPS, Workspace, prepare_torch, run_step

INTERRUPTED = 75  # asked to stop, saved: start again to go on

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

    The same steps are assets in Dagster: `make ui`, or `dagster job execute -j full_rebuild`.
    """,
)
corpus = typer.Typer(no_args_is_help=True, help="Make footage.")
train = typer.Typer(no_args_is_help=True, help="Train one network; goes on from its checkpoint.")
presets = typer.Typer(no_args_is_help=True, help="Presets: every number of a run in one file.")
app.add_typer(corpus, name="corpus")
app.add_typer(train, name="train")
app.add_typer(presets, name="preset")

PresetOption = Annotated[
    str,
    typer.Option("--preset", "-p", envvar="PAHA_PRESET", help="A preset's name, or a .yaml file."),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store", "-s", envvar="PAHA_STORE", help="Folder or URL of the artifacts [runs/PRESET]."
    ),
]


@contextmanager
def one_sentence() -> Iterator[None]:
    """Errors a user can act on become one sentence on stderr; `paha -v` shows their origin."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if is_interruption(error):
            typer.echo(str(error), err=True)
            raise typer.Exit(INTERRUPTED) from None
        verbose = logging.getLogger().isEnabledFor(logging.DEBUG)
        if verbose or not (is_expected(error) or isinstance(error, ValueError)):
            raise
        typer.echo(f"paha: {error}", err=True)
        raise typer.Exit(1) from None


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


# --- steps ----------------------------------------------------------------------------------------


@app.command()
def run(
    step: Annotated[str, typer.Argument(help="One step; all of them in order if left out.")] = "",
    preset: PresetOption = "demo",
    store: StoreOption = "",
) -> None:
    """Bring one step up to date, or the whole pipeline. What is done already is not done again.

    Examples:

        paha run                                   everything, with the demo preset

        paha run clips --preset study.yaml         only ingestion

        paha run --store s3://bucket/paha          artifacts elsewhere
    """
    with one_sentence():
        workspace = Workspace(preset, store)
        workspace.preset  # noqa: B018 - a bad preset is refused before anything is done
        for name in [step] if step else STEPS:
            _show(run_step(name, workspace))


@train.command("codec")
def train_codec(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """The small latent codec."""
    _run_one("latent_codec", preset, store)


@train.command("univdm")
def train_univdm(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """The generator, with the PAR loss."""
    _run_one("univdm", preset, store)


@train.command("classifier")
def train_classifier(
    part: Annotated[Literal["face", "non_face"], typer.Argument(help="Which one.")],
    preset: PresetOption = "demo",
    store: StoreOption = "",
) -> None:
    """One of the two sync classifiers, and its audio-swap gate."""
    _run_one(f"{part}_classifier", preset, store)


@app.command()
def evaluate(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Every metric of every system, for the clips that were generated."""
    _run_one("benchmark", preset, store)


@app.command()
def report(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Write the page that shows a run, and say where it is."""
    _run_one("report", preset, store)


@app.command()
def status(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Which stages are done, with how many clips kept and rejected."""
    with one_sentence():
        from paha_core.status import rows

        workspace = Workspace(preset, store)
        _table(
            f"{workspace.preset.name} in {workspace.store.url}",
            ("stage", "part", "kept", "rejected", "state"),
            rows(workspace.store, workspace.preset),
        )


@app.command()
def results(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Where the report and the generated videos of a run are."""
    with one_sentence():
        place = Workspace(preset, store).store
        if not place.exists("report/index.html"):
            raise StepError(f"no report in {place.url} yet: run `paha run`")
        typer.echo(f"Report: {place.uri('report/index.html')}")
        for rel in place.glob("generated/*.mp4"):
            typer.echo(f"Video:  {place.uri(rel)}")


# --- corpus, generation ---------------------------------------------------------------------------


@corpus.command()
def studio(
    out: Annotated[Path, typer.Option(help="Folder to fill.")],
    clips: Annotated[int, typer.Option(min=1, help="Programmes for each presenter.")] = 2,
    seed: int = 0,
    seconds: Annotated[float, typer.Option(min=2, help="About how long each is.")] = 20.0,
    height: Annotated[int, typer.Option(min=128, help="Of the 16:9 picture, in pixels.")] = 512,
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Render drawn presenters who speak: raw footage without a network, a licence or an account.

    Example:

        paha corpus studio --out sources --clips 4 --seconds 10
    """
    from paha_core.corpora.studio import render_corpus
    from paha_core.corpora.studio.identities import IDENTITIES
    from paha_core.progress import Progress

    with (
        one_sentence(),
        Progress(clips * len(IDENTITIES), "programmes", unit="programme") as progress,
    ):
        made = render_corpus(
            out,
            programmes=clips,
            seconds=seconds,
            height=height,
            seed=seed,
            workers=workers,
            progress=lambda done, total: progress.update(),
        )
        new = sum(p.rendered for p in made.programmes)
        typer.echo(f"{len(made.programmes)} programmes in {out}, {new} of them new")


@app.command()
def generate(
    image: Annotated[Path, typer.Option(help="Picture of one person, face to the camera.")],
    audio: Annotated[Path, typer.Option(help="The voice: any audio or video file.")],
    out: Annotated[Path, typer.Option(help="The mp4 to write.")],
    preset: PresetOption = "demo",
    store: StoreOption = "",
    mode: Annotated[
        Literal["unguided", "sequential", "differential"], typer.Option(help="How to guide.")
    ] = "sequential",
    seed: int = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="DDIM steps [the preset's].")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Cut the voice there.")] = None,
) -> None:
    """Make the person in a picture speak. A json beside the video tells what made it.

    Example:

        paha generate --image me.jpg --audio hello.wav --out hello.mp4
    """
    with one_sentence():
        for path in (image, audio):
            if not path.is_file():
                raise StepError(f"no file {path}")
        if out.suffix != ".mp4":
            raise StepError(f"{out} is no .mp4")
        workspace = Workspace(preset, store)
        device = prepare_torch(workspace.preset)
        from paha_core.inference.pipeline import PahaPipeline, describe, resize
        from paha_core.media.video import write_video

        pipeline = PahaPipeline.from_store(workspace.store, workspace.preset, device)
        with Progress(0, "generate", "segment") as progress:
            made, wave = pipeline(
                image,
                audio,
                mode=mode,
                seed=seed,
                steps=steps,
                max_seconds=max_seconds,
                on_segment=progress.reach,
            )
        frames = resize(made.frames[0], workspace.preset.corpora.clip.size)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_video(out, frames, wave=wave)
        about = describe(pipeline, made) | {"mode": mode, "seed": seed, "steps": steps}
        about |= {"image": image.name, "audio": audio.name, "max_seconds": max_seconds}
        out.with_suffix(".json").write_text(json.dumps(about, indent=2))
        typer.echo(f"{out}: {len(frames) / 25:.2f} s, made in {made.seconds:.1f} s")


# --- presets --------------------------------------------------------------------------------------


@presets.command("list")
def preset_list() -> None:
    """The presets that come with the package."""
    from paha_core.config import preset_names

    for name in preset_names():
        typer.echo(name)


@presets.command("show")
def preset_show(name: Annotated[str, typer.Argument()] = "demo") -> None:
    """Every value of a preset, defaults included."""
    with one_sentence():
        typer.echo(yaml.safe_dump(Workspace(name).preset.settings(), sort_keys=False), nl=False)


@presets.command("check")
def preset_check(name: Annotated[str, typer.Argument(help="Name, or path of a .yaml.")]) -> None:
    """Refuse a preset with an unknown key or a wrong value, by name."""
    with one_sentence():
        typer.echo(f"{Workspace(name).preset.name} is a good preset")


# --- showing --------------------------------------------------------------------------------------


def _run_one(step: str, preset: str, store: str) -> None:
    with one_sentence():
        _show(run_step(step, Workspace(preset, store)))


def _show(report: StepReport) -> None:
    counts = ("kept", "rejected", "computed", "reused")
    words = ", ".join(f"{getattr(report, name)} {name}" for name in counts)
    typer.echo(f"{report.step}: {words}")
    for reason, count in sorted(report.reasons.items(), key=lambda pair: -pair[1]):
        typer.echo(f"    {count:>5} x {reason}")
    for name, value in report.figures.items():
        text = f"{value:.5g}" if isinstance(value, float) else value
        typer.echo(f"    {name}: {text}")
    for name, uri in report.artifacts.items():
        typer.echo(f"    {name}: {uri}")


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """The entry point. Other packages add commands (`reap`, `resume`) under `paha.commands`."""
    for entry in entry_points(group="paha.commands"):
        app.command(entry.name)(entry.load())
    app()


if __name__ == "__main__":
    main()
