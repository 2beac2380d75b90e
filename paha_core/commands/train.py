"""`paha train`: one network at a time."""

from __future__ import annotations

from typing import Annotated

import typer

from paha_core.commands.shared import (
    PresetOption,
    StoreOption,
    run_one,
)
from paha_core.trained import UNIVDM_FAST, Part, classifier_name

train = typer.Typer(no_args_is_help=True, help="Train one network; resumes from its checkpoint.")


@train.command("codec")
def train_codec(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """The small latent codec."""
    run_one("latent_codec", preset, store)


@train.command("univdm")
def train_univdm(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """The generator, with the PAR loss; in one process or in many.

    Examples:

        paha train univdm --preset my.yaml         `trainer.processes` of them on this host

        torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400
        -m paha_core.cli train univdm --preset my.yaml         over hosts, on each of them

    SIGTERM saves and ends with exit code 75: the same command resumes from there. `paha plan`
    prints beforehand what a preset needs.
    """
    run_one("univdm", preset, store)


@train.command("classifier")
def train_classifier(
    part: Annotated[Part, typer.Argument(help="Region of the classifier.")],
    preset: PresetOption = "demo",
    store: StoreOption = "",
) -> None:
    """One of the two sync classifiers, and its audio-swap gate; in as many processes as UniVDM."""
    run_one(classifier_name(part), preset, store)


@train.command("fast")
def train_fast(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """A student of UniVDM that takes few steps; in as many processes as UniVDM.

    `paha generate --fast` uses it.
    """
    run_one(UNIVDM_FAST, preset, store)
