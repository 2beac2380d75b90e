"""`paha gc`: delete files that are no longer needed."""

from __future__ import annotations

from typing import Annotated

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence, print_table
from paha_core.stages import Workspace


def gc(
    preset: PresetOption = "demo",
    store: StoreOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without confirmation.")] = False,
) -> None:
    """List superseded negatives, superseded variants and earlier training runs (`.before-`) with
    their sizes, and delete them after confirmation.

    Example:

        paha gc --preset study --yes
    """
    with one_sentence():
        from rich.filesize import decimal

        from paha_core.stages.leftovers import leftovers

        workspace = Workspace(preset, store)
        found = leftovers(workspace.store, workspace.preset)
        if not found:
            typer.echo("nothing to delete")
            return
        rows = tuple((one.what, one.where, decimal(one.bytes)) for one in found)
        print_table(f"leftovers in {workspace.store.url}", ("what", "path", "size"), rows)
        total = decimal(sum(one.bytes for one in found))
        if not yes and not typer.confirm(f"Delete {total}?"):
            raise typer.Exit(1)
        for one in found:
            for path in one.paths:
                workspace.store.remove(path)
        typer.echo(f"deleted {total}")
