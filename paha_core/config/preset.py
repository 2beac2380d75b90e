"""A preset: all sections together, from a yaml file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from paha_core.config.adapt import AdaptConfig
from paha_core.config.base import Section, wrong_keys
from paha_core.config.data import CorporaConfig, ParConfig, PoseConfig, ShardConfig
from paha_core.config.networks import (
    AudioConfig,
    ClassifierConfig,
    CodecConfig,
    FastConfig,
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

    name: str = Field(
        pattern=r"^[\w.-]*\w[\w.-]*$", description="names the default store, runs/<name>"
    )
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
    fast: FastConfig = FastConfig()
    trainer: TrainerConfig = TrainerConfig()
    negatives: NegativeConfig = NegativeConfig()
    classifiers: ClassifierConfig = ClassifierConfig()
    adapt: AdaptConfig = AdaptConfig()
    generation: GenerationConfig = GenerationConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()

    @model_validator(mode="after")
    def _sizes(self) -> Preset:
        size, factor = self.generation.size, self.codec.factor
        if size is not None and size % factor:
            raise ValueError(f"generation.size {size} is not a multiple of {factor}, a latent cell")
        return self

    @model_validator(mode="after")
    def _lengths(self) -> Preset:
        longest = max(self.generation.segment_frames, *self.negatives.lengths)
        if longest > self.classifiers.max_frames:
            raise ValueError(
                f"classifiers.max_frames is {self.classifiers.max_frames}: no place for {longest} "
                "frames of generation.segment_frames or negatives.lengths"
            )
        return self

    @model_validator(mode="after")
    def _audio_of_corpora(self) -> Preset:
        if unknown := self.audio.by_dataset.keys() - set(self.corpora.datasets):
            raise ValueError(f"audio.by_dataset names no corpus: {', '.join(sorted(unknown))}")
        return self

    @model_validator(mode="after")
    def _datasets_of_classifiers(self) -> Preset:
        if unknown := set(self.classifiers.datasets or ()) - set(self.corpora.datasets):
            raise ValueError(f"classifiers.datasets names no corpus: {', '.join(sorted(unknown))}")
        return self

    def changed(self, device: str | None = None, dataset: str | None = None) -> Preset:
        """On that device, and with the audio encoder of that dataset where it has one; None: as it
        is."""
        changes: dict[str, Any] = {"device": device} if device else {}
        if dataset is not None:
            changes["audio"] = self.audio.for_dataset(dataset)
        return self.model_copy(update=changes)

    @property
    def generator(self) -> str:
        """The network that generates videos."""
        return "univdm_fast" if self.generation.fast else "univdm"

    @property
    def num_inference_steps(self) -> int:
        """Steps of a video's sampling."""
        return self.fast.steps if self.generation.fast else self.generation.ddim_steps

    def with_student(self) -> Preset:
        """With `univdm_fast` in the place of UniVDM."""
        return self.with_generation(fast=True)

    def with_generation(self, **changes: Any) -> Preset:
        """With other settings of `generation`, which are not checked."""
        generation = self.generation.model_copy(update=changes)
        return self.model_copy(update={"generation": generation})

    @property
    def classifier_datasets(self) -> list[str]:
        """The datasets that the classifiers and their negatives are trained on."""
        return list(self.classifiers.datasets or self.corpora.datasets)

    @property
    def evaluation_size(self) -> int:
        """Side in pixels at which videos are evaluated."""
        return self.generation.size or self.corpora.clip.size

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


def load_preset(name: str | Path, changes: Mapping[str, Any] | None = None) -> Preset:
    """The preset of that name, or at that path, merged over its `base`, if it names one, with
    nested `changes` laid over it.

    Raises `PresetError` naming each unknown key or wrong value.
    """
    what = f"preset {name} with changes" if changes else f"preset {name}"
    return checked(Preset, _merged(_resolved(name, ()), changes or {}), what)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes` laid over them: mappings merge, lists and scalars replace."""
    result = dict(values)
    for key, change in changes.items():
        inner = isinstance(change, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], change) if inner else change
    return result


def derived(preset: Preset, changes: Mapping[str, Any]) -> Preset:
    """The preset with nested `changes`, checked like any other."""
    return Preset(**_merged(preset.model_dump(), changes))


def _resolved(name: str | Path, chain: tuple[str, ...]) -> dict[str, Any]:
    """The preset's mapping without its `base`, which is a name, or a path relative to the file."""
    is_file = str(name).endswith((".yaml", ".yml"))
    key = str(Path(name).resolve()) if is_file else str(name)
    if key in chain:
        raise PresetError(
            f"presets are based on each other in a circle: {' -> '.join((*chain, key))}"
        )
    values = _read(name)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise PresetError(f"preset {name}: base must be a preset's name or a .yaml file")
    if base.endswith((".yaml", ".yml")):
        base = str(Path(name).parent / base) if is_file else base
    return _merged(_resolved(base, (*chain, key)), values)


def _read(name: str | Path) -> dict[str, Any]:
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise PresetError(f"no preset file {path}")
        data = path.read_bytes()
    elif str(name) in preset_names():
        data = (resources.files("paha_core") / "presets" / f"{name}.yaml").read_bytes()
    else:
        raise PresetError(
            f"no preset {str(name)!r}: there are {', '.join(preset_names())}, or give a .yaml file"
        )
    try:
        value = yaml.load(data.decode("utf-8-sig"), _UniqueKeyLoader)
    except UnicodeDecodeError as error:
        raise PresetError(f"preset {name} is not UTF-8 text: save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise PresetError(f"preset {name} is not valid yaml: {error}") from error
    if not isinstance(value, dict):
        raise PresetError(f"preset {name} is not a mapping of sections")
    return value


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice in one mapping; plain yaml silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def checked(kind: type[Checked], value: dict[str, Any], what: str) -> Checked:
    """`value` as that section. Raises `PresetError` naming each unknown key or wrong value."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise PresetError(f"{what} can't be used:\n{wrong_keys(error)}") from None
