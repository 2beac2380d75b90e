"""`paha corpus`: footage of the project's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paha_core.commands.shared import one_sentence

corpus = typer.Typer(no_args_is_help=True, help="Make footage.")


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
