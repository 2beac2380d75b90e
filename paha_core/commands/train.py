"""`paha train`: one network at a time."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from paha_core.commands.shared import PresetOption, StoreOption, run_one

train = typer.Typer(no_args_is_help=True, help="Train one network; goes on from its checkpoint.")


@train.command("codec")
def train_codec(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """The small latent codec."""
    run_one("latent_codec", preset, store)


@train.command("univdm")
def train_univdm(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """The generator, with the PAR loss."""
    run_one("univdm", preset, store)


@train.command("classifier")
def train_classifier(
    part: Annotated[Literal["face", "non_face"], typer.Argument(help="Which one.")],
    preset: PresetOption = "demo",
    store: StoreOption = "",
) -> None:
    """One of the two sync classifiers, and its audio-swap gate."""
    run_one(f"{part}_classifier", preset, store)
