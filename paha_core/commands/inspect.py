"""`paha inspect`: show the marks of a generated video and verify that it is unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paha_core.commands.shared import one_sentence


def inspect(
    video: Annotated[Path, typer.Argument(help="An mp4.")],
) -> None:
    """Show and verify a video's content credentials (C2PA) and metadata, and find its sidecar.

    Ends with 0 only for a video that is marked, unchanged and has its sidecar.

    Example:

        paha inspect hello.mp4
    """
    with one_sentence():
        from paha_core.inference.credentials import TEST_NAME
        from paha_core.inference.marks import inspect_video

        found = inspect_video(video)
        typer.echo(f"content credentials: {found.state}")
        if found.signed_by == TEST_NAME:
            typer.echo(f"signed by: {TEST_NAME}; it does not say who made the video")
        elif found.signed_by:
            typer.echo(f"signed by: {found.signed_by}")
        for title, mark in (("credentials", found.claim), ("metadata", found.comment)):
            for name, value in mark.items():
                typer.echo(f"{title}, {name}: {value}")
        if found.sidecar is not None:
            typer.echo(f"sidecar: {found.sidecar}")
        for problem in found.problems:
            typer.echo(f"problem: {problem}", err=True)
        if found.problems:
            raise typer.Exit(1)
