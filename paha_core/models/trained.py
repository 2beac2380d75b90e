"""The networks that a run has trained, out of its store."""

from __future__ import annotations

from typing import Literal

from paha_core.config import Preset
from paha_core.models.codec import WEIGHTS, Codec, open_codec
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import UniVDM
from paha_core.store import Store

CODEC = "latent_codec"
UNIVDM = "univdm"
Part = Literal["face", "non_face"]
NAMES: dict[Part, str] = {"face": "face_classifier", "non_face": "non_face_classifier"}


def load_codec(store: Store, preset: Preset, device: str = "cpu") -> Codec:
    """The codec this run uses. Raises `FileNotFoundError` when it has not been trained yet."""
    rel = f"checkpoints/{CODEC}/final"
    if preset.codec.pretrained or not store.exists(f"{rel}/{WEIGHTS}"):
        return open_codec(preset.codec, None, device)
    with store.reading_folder(rel) as folder:
        return open_codec(preset.codec, folder, device)


def load_univdm(store: Store, export: str = "final", device: str = "cpu") -> UniVDM:
    """UniVDM as it was at that export. Raises `FileNotFoundError` when it has not been trained
    yet."""
    rel = f"checkpoints/{UNIVDM}/{export}"
    if not store.exists(f"{rel}/config.json"):
        raise FileNotFoundError(f"no {store.uri(rel)}: materialise `univdm` first")
    with store.reading_folder(rel) as folder:
        return UniVDM.from_pretrained(folder, use_safetensors=True).to(device)


def load_classifier(
    store: Store, part: Part, export: str = "final", device: str = "cpu"
) -> SyncClassifier:
    """A trained classifier in eval mode. Raises `FileNotFoundError` when it has not been trained
    yet."""
    rel = f"checkpoints/{NAMES[part]}/{export}"
    if not store.exists(f"{rel}/config.json"):
        raise FileNotFoundError(f"no {store.uri(rel)}: materialise `{NAMES[part]}` first")
    with store.reading_folder(rel) as folder:
        return SyncClassifier.from_pretrained(folder, use_safetensors=True).to(device).eval()
