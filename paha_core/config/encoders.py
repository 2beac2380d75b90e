"""The frozen encoders that a preset may name. A new one is its class (`paha_core.models.protocols`)
and its entry here; everything else reads these registries.

No class is imported until it is used: a preset is read without PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder's class, and its properties without loading it.

    `path` is `module:Class`. A class that `needs_weights` takes (`pretrained`, `device`), any other
    none. `published_shape` is the shape of a frame's features with the
    published weights: plans are made without them. `instead_of` names what the paper uses, unless
    this is it.
    """

    path: str
    needs_weights: bool
    published_shape: tuple[int, ...]
    instead_of: str = ""


AUDIO_ENCODERS = {
    "wav2vec2": EncoderEntry(
        "paha_core.models.audio_encoder:Wav2Vec2", needs_weights=True, published_shape=(12, 768)
    ),
    "log_mel": EncoderEntry(
        "paha_core.models.audio_encoder:LogMel",
        needs_weights=False,
        published_shape=(4, 40),
        instead_of="wav2vec2",
    ),
}
REFERENCE_ENCODERS = {
    "clip": EncoderEntry(
        "paha_core.models.reference_encoder:Clip", needs_weights=True, published_shape=(1024,)
    ),
    "pooled_pixels": EncoderEntry(
        "paha_core.models.reference_encoder:PooledPixels",
        needs_weights=False,
        published_shape=(192,),
        instead_of="CLIP ViT-H",
    ),
}


def entry_of(name: str, registry: dict[str, EncoderEntry]) -> EncoderEntry:
    """The entry of that name. Raises `ValueError` with the known names where there is none."""
    if name not in registry:
        raise ValueError(f"no encoder is called {name}; there are {', '.join(sorted(registry))}")
    return registry[name]
