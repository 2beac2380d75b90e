"""A preset: all sections together, from a yaml file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from paha_core.config.base import Section
from paha_core.config.data import CorporaConfig, ParConfig, PoseConfig, ShardConfig
from paha_core.config.networks import (
    AudioConfig,
    ClassifierConfig,
    CodecConfig,
    NegativeConfig,
    ReferenceConfig,
    TrainerConfig,
    UniVDMConfig,
)
from paha_core.config.results import BenchmarkConfig, GenerationConfig
from paha_core.errors import UserError

Checked = TypeVar("Checked", bound=Section)


class PresetError(UserError):
    """A preset that can't be used; the message names each bad key."""


class Preset(Section):
    """Every number of a run, one section for each part of the pipeline."""

    name: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0, description="torch threads; 0 leaves torch's choice")
    workers: int = Field(0, ge=0, description="processes for per-clip work; 0: one per core")
    executor: Literal["processes", "ray"] = Field(
        "processes", description="where per-clip work runs: here, or on a Ray cluster"
    )
    retry_rejected: bool = Field(False, description="cut rejected clips once more")
    corpora: CorporaConfig
    pose: PoseConfig = PoseConfig()
    par: ParConfig = ParConfig()
    shards: ShardConfig = ShardConfig()
    codec: CodecConfig = CodecConfig()
    audio: AudioConfig = AudioConfig()
    reference: ReferenceConfig = ReferenceConfig()
    univdm: UniVDMConfig = UniVDMConfig()
    trainer: TrainerConfig = TrainerConfig()
    negatives: NegativeConfig = NegativeConfig()
    classifiers: ClassifierConfig = ClassifierConfig()
    generation: GenerationConfig = GenerationConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()

    @model_validator(mode="after")
    def _lengths(self) -> Preset:
        longest = max(self.generation.segment_frames, *self.negatives.lengths)
        if longest > self.classifiers.max_frames:
            raise ValueError(
                f"classifiers.max_frames is {self.classifiers.max_frames}: no place for {longest} "
                "frames of generation.segment_frames or negatives.lengths"
            )
        return self

    @property
    def negatives_step(self) -> int:
        """The step of UniVDM's training whose weights make the negatives."""
        return max(1, round(self.negatives.at * self.univdm.train.steps))


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("paha_core") / "presets"
    return sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )


def load_preset(name: str | Path) -> Preset:
    """The preset of that name, or at that path. Raises `PresetError` naming each unknown key or
    wrong value.
    """
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise PresetError(f"no preset file {path}")
        text = path.read_text()
    elif str(name) in preset_names():
        text = (resources.files("paha_core") / "presets" / f"{name}.yaml").read_text()
    else:
        raise PresetError(
            f"no preset {name!r}: there are {', '.join(preset_names())}, or give a .yaml file"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PresetError(f"preset {name} is not yaml: {error}") from error
    if not isinstance(value, dict):
        raise PresetError(f"preset {name} is not a mapping of sections")
    return checked(Preset, value, f"preset {name}")


def checked(kind: type[Checked], value: dict[str, Any], what: str) -> Checked:
    """`value` as that section. Raises `PresetError` naming each unknown key or wrong value."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise PresetError(f"{what} can't be used:\n" + "\n".join(lines)) from None
