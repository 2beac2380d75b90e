"""Loads the networks that a run has trained from its store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paha_core.config import Preset
from paha_core.errors import run_first
from paha_core.models.codec import Codec, open_codec
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import UniVDM
from paha_core.store import Store
from paha_core.trained import CODEC, UNIVDM, Part, classifier_name
from paha_core.weight_formats import check_weights


def load_codec(store: Store, preset: Preset, device: str = "cpu") -> Codec:
    """The codec this run uses. Raises `FileNotFoundError` when it has not been trained yet."""
    if preset.codec.pretrained:
        return open_codec(preset.codec, None, device)
    with _exported(store, CODEC) as folder:
        return open_codec(preset.codec, folder, device)


def load_univdm(
    store: Store, export: str = "final", device: str = "cpu", name: str = UNIVDM
) -> UniVDM:
    """UniVDM, or its student, from that export. Raises `FileNotFoundError` when it has not been
    trained yet."""
    with _exported(store, name, export) as folder:
        return UniVDM.from_pretrained(folder, use_safetensors=True).to(device)


def load_classifier(store: Store, part: Part, device: str = "cpu") -> SyncClassifier:
    """A trained classifier in eval mode. Raises `FileNotFoundError` when it has not been trained
    yet."""
    with _exported(store, classifier_name(part)) as folder:
        return SyncClassifier.from_pretrained(folder, use_safetensors=True).to(device).eval()


@contextmanager
def _exported(store: Store, name: str, export: str = "final") -> Iterator[Path]:
    rel = f"checkpoints/{name}/{export}"
    if not store.exists(f"{rel}/config.json"):
        raise FileNotFoundError(f"no {store.uri(rel)}: {run_first(name)}")
    with store.reading_folder(rel) as folder:
        check_weights(folder)
        yield folder
