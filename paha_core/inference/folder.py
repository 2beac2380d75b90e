"""A pipeline as a folder, as diffusers keeps one: a sub-folder a network, and an index.

index.json  preset.yaml  univdm/  codec/  face_classifier/  non_face_classifier/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from diffusers import AutoencoderKL

from paha_core.config import Preset, load_preset
from paha_core.inference.inputs import InputError
from paha_core.models.audio_encoder import open_audio_encoder
from paha_core.models.codec import Codec
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.trained import NAMES
from paha_core.models.univdm import UniVDM
from paha_core.store import Store

if TYPE_CHECKING:
    from paha_core.inference.pipeline import PahaPipeline

INDEX = "index.json"
ENCODERS = ("audio_encoder", "reference_encoder")


def save_pipeline(pipeline: PahaPipeline, folder: Path) -> None:
    """Write the folder whole; one that is there is replaced. The encoders' weights stay where the
    preset names them, and the index holds their hashes.

    Raises `InputError` where `folder` is something other than a pipeline.
    """
    if not isinstance(pipeline.codec, Codec):
        raise InputError(f"a {type(pipeline.codec).__name__} can't be saved: only an AutoencoderKL")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_pipeline(folder)):
        raise InputError(f"{folder} holds something else: give a new folder")
    index = {
        "class": "PahaPipeline",
        "networks": pipeline.networks,
        "gates": {NAMES[part]: passed for part, passed in pipeline.gates.items()},
    }
    with Store(str(folder.absolute().parent)).writing_folder(folder.name) as out:
        pipeline.univdm.save_pretrained(out / "univdm")
        pipeline.codec.autoencoder.save_pretrained(out / "codec")
        for part, classifier in pipeline.classifiers.items():
            classifier.save_pretrained(out / NAMES[part])
        preset = yaml.safe_dump(pipeline.preset.model_dump(mode="json"), sort_keys=False)
        (out / "preset.yaml").write_text(preset)
        (out / INDEX).write_text(json.dumps(index, indent=2))


def is_pipeline(folder: Path) -> bool:
    """Whether `save_pipeline` wrote the folder."""
    return (folder / INDEX).is_file() and (folder / "univdm").is_dir()


def load_pipeline(kind: type[PahaPipeline], folder: Path, device: str) -> PahaPipeline:
    """The pipeline of a folder. Raises `FileNotFoundError` when it holds none, `InputError` when
    the preset's encoders are not those it was saved with."""
    if not is_pipeline(folder):
        raise FileNotFoundError(f"{folder} holds no pipeline: make one with `paha export`")
    index = json.loads((folder / INDEX).read_text())
    networks = index["networks"]
    preset: Preset = load_preset(folder / "preset.yaml")
    autoencoder = AutoencoderKL.from_pretrained(folder / "codec", use_safetensors=True).to(device)
    pipeline = kind(
        preset,
        Codec(autoencoder, networks["codec"]["name"], networks["codec"]["sha256"]),
        UniVDM.from_pretrained(folder / "univdm", use_safetensors=True).to(device),
        open_audio_encoder(preset.audio, device),
        open_reference_encoder(preset.reference, device),
        {
            part: SyncClassifier.from_pretrained(folder / name, use_safetensors=True).to(device)
            for part, name in NAMES.items()
            if (folder / name).is_dir()
        },
        {part: index["gates"][name] for part, name in NAMES.items() if name in index["gates"]},
        device,
    )
    for role in ENCODERS:
        if pipeline.networks[role]["sha256"] != networks[role]["sha256"]:
            raise InputError(f"{folder}: its {role} was another {networks[role]['name']}")
    return pipeline
