"""A pipeline of a preset's sizes with random weights, for benchmarks and tests."""

from __future__ import annotations

import torch

from paha_core.config import Preset
from paha_core.inference.pipeline import PahaPipeline
from paha_core.models.audio_encoder import open_audio_encoder
from paha_core.models.build import Widths, new_classifier, new_univdm
from paha_core.models.codec import Codec, new_autoencoder
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.pretrained import weights_sha256
from paha_core.trained import PARTS


def untrained_pipeline(preset: Preset, device: str = "cpu") -> PahaPipeline:
    """Same preset, same weights. Its classifiers have passed no gate."""
    torch.manual_seed(0)
    autoencoder = new_autoencoder(preset.codec)
    codec = Codec(autoencoder.to(device), "untrained", weights_sha256(autoencoder))
    audio = open_audio_encoder(preset.audio, device)
    reference = open_reference_encoder(preset.reference, device)
    univdm = new_univdm(preset, Widths.of(codec, audio, reference))
    classifiers = {part: new_classifier(preset.classifiers, univdm).to(device) for part in PARTS}
    return PahaPipeline(
        preset, codec, univdm.to(device), audio, reference, classifiers, device=device
    )
