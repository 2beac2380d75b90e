"""The networks of the pipeline, from a run's store or from a saved folder.

A folder is laid out as diffusers lays out a pipeline, one sub-folder a network, and an index:
index.json  preset.yaml  univdm/  codec/  face_classifier/  non_face_classifier/
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from diffusers import ModelMixin
from torch import nn

from paha_core.config import Preset, load_preset
from paha_core.inference.adapters import LoadedAdapter, WithAdapters, no_adapters
from paha_core.inference.inputs import InputError
from paha_core.inference.offload import offload_layers
from paha_core.inference.saved import INDEX, is_saved, saved_folder
from paha_core.models.audio_encoder import open_audio_encoder
from paha_core.models.codec import Codec, autoencoder_class
from paha_core.models.compiled import compile_blocks, is_compiled
from paha_core.models.int8 import is_int8, to_int8
from paha_core.models.load import load_classifier, load_codec, load_univdm
from paha_core.models.lora import base_state
from paha_core.models.protocols import AudioEncoder, LatentCodec, ReferenceEncoder
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import UniVDM
from paha_core.pretrained import state_sha256, weights_sha256
from paha_core.store import Store
from paha_core.trained import PARTS, Part, classifier_name, gate_verdict
from paha_core.weight_formats import check_weights

ENCODERS = ("audio_encoder", "reference_encoder")


@dataclass
class PipelineComponents(WithAdapters):
    """UniVDM with its codec, encoders and classifiers.

    Attributes:
        gates: whether each classifier passed its audio-swap gate.
        source: the `store` or the `folder` that they were opened from.
        familiar_from: PSNR in dB that the codec's reconstruction of a portrait reaches where it is
            like those of the corpus (`inference.portraits`); None where it was never measured.
        adapters: of UniVDM, by name (`load_adapter`).
    """

    preset: Preset
    codec: LatentCodec
    univdm: UniVDM
    audio: AudioEncoder
    reference: ReferenceEncoder
    classifiers: dict[Part, SyncClassifier] = field(default_factory=dict)
    gates: dict[Part, bool] = field(default_factory=dict)
    device: str = "cpu"
    source: dict[str, str] = field(default_factory=dict)
    familiar_from: float | None = None
    adapters: dict[str, LoadedAdapter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generation = self.preset.generation
        if generation.recomputes:
            for classifier in self.classifiers.values():
                classifier.encoder.enable_gradient_checkpointing()
        self.checked = set[bool]()  # compiled networks: unguided, guided
        if generation.compile:
            for network in self._denoising:
                if not is_compiled(network):
                    compile_blocks(network)
        if generation.offload:
            for part in (self.codec, self.audio, self.reference):
                for module in _modules(part):
                    module.to("cpu")
        if generation.weights == "int8":
            self._round_weights()
        if generation.offload_layers and self.device.startswith("cuda"):
            if self.adapters:
                raise no_adapters("offload_layers")
            _ = self.networks  # hashed while the weights are there
            offload_layers(self.univdm, self.device)

    @property
    def _denoising(self) -> list[nn.Module]:
        """UniVDM and the classifiers that guide it."""
        return [self.univdm, *self.classifiers.values()]

    def _round_weights(self) -> None:
        """Before the networks are on the device, which may not hold their float32 weights."""
        if self.adapters:
            raise no_adapters("generation.weights int8")
        _ = self.networks  # hashed as they were trained
        for network in self._denoising:
            to_int8(network)
            if network is not self.univdm or not self.preset.generation.offload_layers:
                network.to(self.device)

    def with_preset(self, preset: Preset) -> Self:
        """The same networks, where `preset` differs in nothing that prepares them."""
        same = copy.copy(self)
        same.preset = preset
        return same

    @contextmanager
    def on_device(self, network: LatentCodec | AudioEncoder | ReferenceEncoder) -> Iterator[None]:
        """A context in which a frozen network is on the device; with `generation.offload` it is in
        host memory before and after."""
        if not self.preset.generation.offload:
            yield
            return
        modules = _modules(network)
        for module in modules:
            module.to(self.device)
        try:
            yield
        finally:
            for module in modules:
                module.to("cpu")

    @classmethod
    def from_store(cls, store: Store, preset: Preset, device: str = "cpu") -> Self:
        """Open the networks of a run. Raises `FileNotFoundError` naming the stage whose weights are
        missing; classifiers are opened if they are trained, since unguided runs need none.
        """
        trained = [
            part
            for part in PARTS
            if store.exists(f"checkpoints/{classifier_name(part)}/final/config.json")
        ]
        verdicts = {part: gate_verdict(store, preset, classifier_name(part)) for part in trained}
        return cls(
            preset,
            load_codec(store, preset, device),
            load_univdm(store, device=_first_device(preset, device), name=preset.generator),
            open_audio_encoder(preset.audio, device),
            open_reference_encoder(preset.reference, device),
            {
                part: load_classifier(store, part, device=_rounding_device(preset, device))
                for part in trained
            },
            {part: bool(gate and gate["passed"]) for part, gate in verdicts.items()},
            device,
            {"store": store.root if store.is_local else store.url},
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str = "cpu", preset: Preset | None = None
    ) -> Self:
        """Open a folder that `save_pretrained` wrote, under its own preset or a changed one. Raises
        `FileNotFoundError` for a folder without a pipeline, `InputError` where the preset's
        encoders have other weights than when it was saved. `base` is the folder inside the
        package."""
        folder = saved_folder(folder)
        check_weights(folder)
        index = json.loads((folder / INDEX).read_text())
        saved, gates = index["networks"], index["gates"]
        preset = preset or load_preset(folder / "preset.yaml")
        # float32 whatever the file holds
        read: dict[str, Any] = {"use_safetensors": True, "torch_dtype": torch.float32}
        kind = autoencoder_class(folder / "codec")
        codec = kind.from_pretrained(folder / "codec", **read).to(device)
        opened = cls(
            preset,
            Codec(codec, saved["codec"]["name"], saved["codec"]["sha256"], preset.codec.batch),
            UniVDM.from_pretrained(folder / "univdm", **read).to(_first_device(preset, device)),
            open_audio_encoder(preset.audio, device),
            open_reference_encoder(preset.reference, device),
            {
                part: SyncClassifier.from_pretrained(folder / classifier_name(part), **read).to(
                    _rounding_device(preset, device)
                )
                for part in PARTS
                if (folder / classifier_name(part)).is_dir()
            },
            {
                part: gates[classifier_name(part)]
                for part in PARTS
                if classifier_name(part) in gates
            },
            device,
            {"folder": str(folder.absolute())},
            index.get("familiar_from"),
        )
        for role in ENCODERS:
            if opened.networks[role]["sha256"] != saved[role]["sha256"]:
                raise InputError(
                    f"the {role} here is not the {saved[role]['name']} that {folder} was saved "
                    "with: correct the paths in its preset.yaml"
                )
        return opened

    def trained(self) -> dict[str, ModelMixin]:
        """The networks that a saved pipeline holds, by the name of their folder.

        Raises `InputError` for a codec that is no `Codec`, while adapters are loaded, or for int8
        weights.
        """
        if is_int8(self.univdm):
            raise InputError("int8 weights can't be saved: open with generation.weights fp32")
        if self.adapters:
            raise InputError("adapters are loaded: call fuse_adapters or unload_adapters first")
        if not isinstance(self.codec, Codec):
            name = type(self.codec).__name__
            raise InputError(f"a {name} can't be saved: only one of an autoencoder")
        classifiers = {classifier_name(part): net for part, net in self.classifiers.items()}
        return {"univdm": self.univdm, "codec": self.codec.autoencoder, **classifiers}

    def rounded(self) -> Self:
        """The same pipeline with weights that float16 can hold, still computed in float32."""
        nets = {name: copy.deepcopy(net).half().float() for name, net in self.trained().items()}
        old, autoencoder = self.codec, nets["codec"]
        codec = Codec(autoencoder, old.name, weights_sha256(autoencoder), self.preset.codec.batch)
        classifiers = {part: nets[classifier_name(part)] for part in self.classifiers}
        return replace(self, codec=codec, univdm=nets["univdm"], classifiers=classifiers)

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the pipeline as a folder, atomically; an earlier pipeline there is replaced. The
        encoders' weights stay where the preset names them, and the index holds their hashes.

        `half` writes float16, half the bytes; what is opened again is the `rounded` pipeline.
        Raises `InputError` where `folder` holds something other than a saved pipeline.
        """
        folder, saved = Path(folder), self.rounded() if half else self
        networks = saved.trained()
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_saved(folder)):
            raise InputError(f"{folder} holds something else: give a new folder")
        index = {
            "class": "PahaPipeline",
            "networks": saved.networks,
            "gates": {classifier_name(part): passed for part, passed in self.gates.items()},
            "familiar_from": self.familiar_from,
        }
        with Store(str(folder.absolute().parent)).writing_folder(folder.name) as out:
            for name, network in networks.items():
                (network.half() if half else network).save_pretrained(out / name)
            preset = yaml.safe_dump(self.preset.model_dump(mode="json"), sort_keys=False)
            (out / "preset.yaml").write_text(preset)
            (out / INDEX).write_text(json.dumps(index, indent=2))

    @cached_property
    def networks(self) -> dict[str, Any]:
        """Name and sha256 of the weights of every network, and whether classifiers passed their
        gate."""
        named = {
            role: {"name": network.name, "sha256": network.sha256}
            for role, network in (
                ("codec", self.codec),
                ("audio_encoder", self.audio),
                ("reference_encoder", self.reference),
            )
        }
        generator = self.preset.generator
        named["univdm"] = {"name": generator, "sha256": state_sha256(base_state(self.univdm))}
        return named | {
            classifier_name(part): {
                "name": classifier_name(part),
                "sha256": weights_sha256(classifier),
                "passed_gate": self.gates.get(part, False),
            }
            for part, classifier in self.classifiers.items()
        }


def _first_device(preset: Preset, device: str) -> str:
    """Where UniVDM is loaded to: a network whose layers are offloaded is never on the device as a
    whole."""
    return "cpu" if preset.generation.offload_layers else _rounding_device(preset, device)


def _rounding_device(preset: Preset, device: str) -> str:
    """Where weights are loaded to: those that become int8 are never on the device as float32."""
    return "cpu" if preset.generation.weights == "int8" else device


def _modules(network: object) -> list[nn.Module]:
    return [value for value in vars(network).values() if isinstance(value, nn.Module)]
