"""`paha preset`: the presets that come with the package."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from paha_core.commands.shared import one_sentence
from paha_core.stages import ALL, Workspace

presets = typer.Typer(no_args_is_help=True, help="Presets: every number of a run in one file.")


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
    """Refuse a preset with an unknown key or a wrong value, whose weights or footage are absent, or
    whose device can't compute in its precision.

    Examples:

        paha preset check demo

        paha preset check weights/paper.yaml
    """
    with one_sentence():
        from paha_core.errors import UserError
        from paha_core.stages.inputs import missing_footage
        from paha_core.stages.precision import refused_precisions
        from paha_core.weights.check import problems

        preset = Workspace(name).preset
        found = problems(preset) + missing_footage(preset) + refused_precisions(preset, ALL)
        if found:
            raise UserError(f"{preset.name} can't be used yet:\n  " + "\n  ".join(found))
        typer.echo(f"{preset.name} is a good preset")
