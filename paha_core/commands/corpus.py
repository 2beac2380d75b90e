"""`paha corpus`: render the embedded footage; describe and publish clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from paha_core.commands.fetch import fetch
from paha_core.commands.shared import one_sentence

if TYPE_CHECKING:
    from paha_core.store import Store

corpus = typer.Typer(
    no_args_is_help=True, help="Make and fetch footage; describe and publish clips."
)
corpus.command()(fetch)


@corpus.command()
def studio(
    out: Annotated[Path, typer.Option(help="Folder to fill.")],
    programmes: Annotated[int, typer.Option(min=1, help="Programmes per presenter.")] = 2,
    seed: int = 0,
    people: Annotated[
        int, typer.Option(min=0, help="People drawn from seeds; 0: the four presenters.")
    ] = 0,
    people_seed: Annotated[int, typer.Option(min=0, help="Seed of the first of them.")] = 0,
    seconds: Annotated[float, typer.Option(min=2, help="Approximate length of each.")] = 20.0,
    height: Annotated[
        int, typer.Option(min=128, help="Height of the 16:9 picture in pixels.")
    ] = 512,
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Render drawn presenters who speak: raw footage without a network, a licence or an account.

    Example:

        paha corpus studio --out sources --programmes 4 --seconds 10

        paha corpus studio --out sources --people 300 --programmes 1
    """
    from paha_core.corpora.studio import presenters, render_corpus
    from paha_core.engine.progress import Progress

    with (
        one_sentence(),
        Progress(
            programmes * len(presenters(people, people_seed)), "programmes", unit="programme"
        ) as progress,
    ):
        made = render_corpus(
            out,
            programmes=programmes,
            seconds=seconds,
            height=height,
            seed=seed,
            people=people,
            people_seed=people_seed,
            workers=workers,
            progress=lambda done, total: progress.update(),
        )
        new = sum(p.rendered for p in made.programmes)
        typer.echo(f"{len(made.programmes)} programmes in {out}, {new} of them new")


@corpus.command()
def sheet(
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    people: Annotated[int, typer.Option(min=1, help="How many people.")] = 48,
    people_seed: Annotated[int, typer.Option(min=0, help="Seed of the first of them.")] = 0,
    side: Annotated[int, typer.Option(min=16, help="Of each picture, in pixels.")] = 152,
) -> None:
    """Show people whom the studio draws, side by side.

    Example:

        paha corpus sheet --out people.png --people-seed 100
    """
    from paha_core.corpora.studio import people_sheet

    with one_sentence():
        people_sheet(out, people, people_seed, side=side)
        typer.echo(f"{out}")


DatasetArgument = Annotated[str, typer.Argument(help="Name of the corpus: pats, cnas, …")]
WhereOption = Annotated[
    str,
    typer.Option(
        "--store",
        "-s",
        envvar="PAHA_STORE",
        help="Store of the clips: the `--out` of `paha ingest`.",
    ),
]
WhoseOption = Annotated[
    str,
    typer.Option(
        "--preset",
        "-p",
        envvar="PAHA_PRESET",
        help="Or the preset of the clips, whose store is runs/PRESET.",
    ),
]


@corpus.command("card")
def print_card(dataset: DatasetArgument, store: WhereOption = "", preset: WhoseOption = "") -> None:
    """The data set card: clips, speakers, what was left out and why, the scores' histograms.

    Example:

        paha corpus card cnas --store runs/cnas
    """
    with one_sentence():
        from paha_core.corpora.card import write_card

        place = _store(store, preset)
        typer.echo(place.read_bytes(write_card(place, dataset)).decode())


@corpus.command()
def export(
    dataset: DatasetArgument,
    out: Annotated[str, typer.Option(help="Folder or URL to fill.")],
    format: Annotated[
        Literal["webdataset", "hf"],
        typer.Option(help="webdataset: tar shards; hf: a folder for `datasets.load_dataset`."),
    ] = "webdataset",
    store: WhereOption = "",
    preset: WhoseOption = "",
) -> None:
    """Publish the kept clips: video, wav and metadata of each, with the data set card.

    Examples:

        paha corpus export cnas --store runs/cnas --out release

        paha corpus export cnas --store runs/cnas --out release_hf --format hf
    """
    with one_sentence():
        from paha_core.corpora.export import export_corpus
        from paha_core.engine.progress import Progress
        from paha_core.store import Store

        target = Store(out)
        with Progress(0, "files", unit="file") as progress:
            clips, written = export_corpus(
                _store(store, preset), dataset, target, format, progress.reach
            )
        typer.echo(f"{clips} clips in {target.url}, {written} files written now")


def _store(url: str, preset: str) -> Store:
    """Raises `UserError` when both are empty."""
    from paha_core.errors import UserError
    from paha_core.stages import Workspace

    if not url and not preset:
        raise UserError("name the store of the clips with --store, or their preset with --preset")
    return Workspace(preset, url).store
