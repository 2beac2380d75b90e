"""`paha gc`: delete files that are no longer needed."""

from __future__ import annotations

from typing import Annotated

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence, print_table
from paha_core.stages import Workspace

GIB = 2**30


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
        from paha_core.stages.leftovers import leftovers

        workspace = Workspace(preset, store)
        found = leftovers(workspace.store, workspace.preset)
        if not found:
            typer.echo("nothing to delete")
            return
        rows = [
            (one.what, one.paths[0] if len(one.paths) == 1 else f"{len(one.paths)} files", size)
            for one in found
            for size in [f"{one.bytes / GIB:.3f}"]
        ]
        print_table(f"leftovers in {workspace.store.url}", ("what", "path", "GiB"), tuple(rows))
        total = sum(one.bytes for one in found) / GIB
        if not yes and not typer.confirm(f"Delete {total:.3f} GiB?"):
            raise typer.Exit(1)
        for one in found:
            for path in one.paths:
                workspace.store.remove(path)
        typer.echo(f"deleted {total:.3f} GiB")
