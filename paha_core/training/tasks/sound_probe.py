"""An audio-only probe of the mismatched windows.

If a network without any picture can separate matched from mismatched sound, the mismatched windows
carry an artefact (a seam, a position in the clip) that a classifier could learn instead of
synchrony. So a small audio-only network is trained to do exactly that on the training clips, and
must fail on held-out clips.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from paha_core.config import Preset
from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import WindowBatches
from paha_core.store import Store

STEPS = 150
BATCH = 16  # windows
HELD_OUT = 256  # windows
WIDTH = 32
ROUNDS = 1000  # of the bootstrap


class SoundProbe(TypedDict):
    """Area under the ROC curve on held-out windows, with its 95 % bootstrap interval over clips."""

    auc: float
    low: float
    high: float
    windows: int


class _Network(nn.Module):
    """Two convolutions over time, kernel 2: enough for a seam between neighbouring frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv1d(width, WIDTH, 2)
        self.second = nn.Conv1d(WIDTH, WIDTH, 2)
        self.out = nn.Linear(2 * WIDTH, 1)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Logits [b] of audio windows [b, f, w, layers, width]."""
        hidden = self.norm(audio.flatten(2)).transpose(1, 2)
        hidden = F.relu(self.second(F.relu(self.first(hidden))))
        return self.out(torch.cat([hidden.amax(dim=2), hidden.mean(dim=2)], dim=1))[:, 0]


def probe_sound(store: Store, preset: Preset, device: str = "cpu") -> SoundProbe | None:
    """Train the probe and measure it; None where no held-out window has a mismatched sound."""
    datasets, margin = preset.classifier_datasets, preset.audio.margin
    train, test = (
        ShardReader(store, datasets, split, on_bad_shard=preset.shards.on_bad_shard)
        for split in ("train", "test")
    )
    frames = preset.negatives.lengths_within(min(max(train.frames), max(test.frames)))[-1]
    return measure(
        WindowBatches(train, BATCH, frames, margin, seed=11),
        WindowBatches(test, BATCH, frames, margin, seed=12),
        device,
    )


def measure(
    batches: WindowBatches, held_out: WindowBatches, device: str = "cpu"
) -> SoundProbe | None:
    """Train a probe on the windows of `batches` and measure it on those of `held_out`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = batches.batch_at(0).audio
        network = _Network(first[0, 0].numel()).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(STEPS):
        own, other, _ = _pairs(batches, step, device)
        if len(own):
            loss = (F.softplus(-network(own)).mean() + F.softplus(network(other)).mean()) / 2
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    scores, clips = [], list[int]()
    with torch.no_grad():
        for step in range(HELD_OUT // BATCH):
            own, other, chosen = _pairs(held_out, step, device)
            scores.append(torch.stack([network(own), network(other)]).cpu())
            clips += chosen
    return auc_by_clip(torch.cat(scores, dim=1).numpy(), np.array(clips)) if clips else None


def _pairs(
    batches: WindowBatches, step: int, device: str
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """A step's matched and mismatched sounds, and the clips of the windows that have both."""
    batch = batches.batch_at(step)
    rows = batch.has_mismatch
    clips = [w.clip for w, has in zip(batches.windows_at(step), rows.tolist(), strict=True) if has]
    return batch.audio[rows].to(device), batch.mismatched_audio[rows].to(device), clips


def auc_by_clip(scores: np.ndarray, clips: np.ndarray) -> SoundProbe:
    """The area under the ROC curve of `scores` [2, n] (own, mismatched) of windows of `clips` [n];
    the bootstrap draws clips with all their windows."""
    above = (scores[0][:, None] > scores[1]) + 0.5 * (scores[0][:, None] == scores[1])
    names, place = np.unique(clips, return_inverse=True)
    member = np.eye(len(names))[place]  # [n, clips]
    sums, counts = member.T @ above @ member, member.sum(axis=0)
    rng = np.random.default_rng(0)
    aucs = []
    for _ in range(ROUNDS):
        weights = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        aucs.append(weights @ sums @ weights / (weights @ counts) ** 2)
    low, high = np.quantile(aucs, [0.025, 0.975])
    return SoundProbe(auc=float(above.mean()), low=float(low), high=float(high), windows=len(clips))
