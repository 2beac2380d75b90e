"""Sample strips: fixed held-out windows as the averaged network shows them, at each validation."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image

from paha_core.config import Preset
from paha_core.inference.sampling import Conditions, Sampler
from paha_core.models.protocols import LatentCodec
from paha_core.models.univdm import UniVDM
from paha_core.shards.windows import Batch
from paha_core.training.run import Run

TILES = 8  # frames of a row


class Strips:
    """Pictures `strips/<step>.png` beside a run's checkpoints.

    Two rows a window: the held-out frames through the codec, then what the network makes of their
    reference, first frame and voice from the same noise each time.
    """

    def __init__(self, run: Run, preset: Preset, codec: LatentCodec, held_out: Batch) -> None:
        self.run, self.preset, self.codec, self.batch = run, preset, codec, held_out

    def __call__(self, step: int, model: UniVDM) -> None:
        rows = slice(0, self.preset.trainer.strips)
        batch = self.batch
        given = Conditions(
            batch.reference_latents[rows], batch.reference_embedding[rows], batch.audio[rows]
        )
        bf16 = self.preset.trainer.precision == "bf16"
        sampler = Sampler(model, self.preset.univdm, self.preset.generation.ddim_steps, bf16=bf16)
        made = sampler.video(
            given,
            batch.latents.shape[2],
            torch.Generator().manual_seed(0),
            first_frame=batch.first_frame[rows].to(model.device),
        )
        picture = self._picture(batch.latents[rows], made.cpu())
        data = BytesIO()
        Image.fromarray(picture).save(data, "PNG")
        self.run.store.write_bytes(f"{self.run.folder}/strips/{step:08d}.png", data.getvalue())

    def _picture(self, real: torch.Tensor, made: torch.Tensor) -> np.ndarray:
        """uint8 RGB, of latents [n, C, f, h, w]: a row of frames for each."""
        shown = np.linspace(0, real.shape[2] - 1, min(TILES, real.shape[2])).round().astype(int)
        rows = []
        for pair in zip(real, made, strict=True):
            for latents in pair:
                frames = self.codec.decode(latents[:, shown].transpose(0, 1))
                rows.append(np.concatenate(list(frames), axis=1))
        return np.concatenate(rows)
