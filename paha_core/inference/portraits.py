"""How far a portrait is from the pictures that a pipeline was trained on.

A codec that has learned one corpus reconstructs the pictures of that corpus and spoils all others,
so the PSNR of its reconstruction says whether it has seen the like, for the price of one decode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paha_core.inference.inputs import Picture, frame_portrait, read_picture
from paha_core.models.protocols import LatentCodec

if TYPE_CHECKING:
    from paha_core.inference.components import PipelineComponents

MARGIN_DB = 3.0


def reconstruction_psnr(codec: LatentCodec, frames: np.ndarray) -> np.ndarray:
    """PSNR in dB of each frame's reconstruction, float64 [T]; frames uint8 RGB [T, H, W, 3]."""
    error = codec.decode(codec.encode(frames)).astype(np.float64) - frames
    return 10 * np.log10(255**2 / np.maximum((error**2).mean(axis=(1, 2, 3)), 1e-6))


def familiar_psnr(codec: LatentCodec, frames: np.ndarray) -> float:
    """The PSNR from which on a portrait counts as one of the corpus: `MARGIN_DB` below the worst
    but one percent of `frames`, pictures of the corpus that the codec has not been trained on."""
    return float(np.percentile(reconstruction_psnr(codec, frames), 1) - MARGIN_DB)


def unfamiliar(pipeline: PipelineComponents, image: Picture, letterbox: bool = False) -> str:
    """What to tell who brings a portrait unlike those that `pipeline` was trained on; empty where
    it is like them, or where nobody measured what that means."""
    if pipeline.familiar_from is None:
        return ""
    preset = pipeline.preset
    picture, _ = frame_portrait(read_picture(image), preset.codec.size, preset.pose, letterbox)
    with pipeline.on_device(pipeline.codec):
        psnr = float(reconstruction_psnr(pipeline.codec, picture)[0])
    if psnr >= pipeline.familiar_from:
        return ""
    return (
        f"this portrait is unlike the {preset.name} networks' own people (reconstructed at "
        f"{psnr:.1f} dB, theirs at {pipeline.familiar_from:.1f} or more), so the video will be a "
        "rough likeness; train on footage of your own for others"
    )
