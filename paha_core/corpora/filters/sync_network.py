"""The offset of sound and lips by SyncNet (Chung & Zisserman 2016), where weights are given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from multiprocessing import current_process
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paha_core.config import CorpusConfig
from paha_core.corpora.filters.sync_estimate import Sync
from paha_core.media.video import Frames

if TYPE_CHECKING:
    from paha_core.models.syncnet import SyncNet

MIN_FRAMES, MIN_SIDE = 50, 48  # of the face track, as for the benchmark's Sync-C
SURE = 3.0  # Sync-C from which an offset counts as sure: LatentSync's threshold


@dataclass(frozen=True)
class SyncNetWeights:
    """A file of weights, which enters fingerprints by its content."""

    path: str
    sha256: str


@dataclass(frozen=True)
class SyncCheck:
    """How a clip's sound is compared with its lips: offsets up to `correct` frames are corrected
    when the clip is cut; without `weights` the offset comes from the embedded estimate."""

    correct: int = 0
    weights: SyncNetWeights | None = None

    def settings(self) -> dict[str, int | str]:
        """The settings that affect the result, for a fingerprint; empty for no check."""
        found: dict[str, int | str] = {"correct": self.correct} if self.correct else {}
        return found | ({"syncnet": self.weights.sha256} if self.weights else {})


NO_CHECK = SyncCheck()


def sync_check(settings: CorpusConfig) -> SyncCheck:
    """The check of a corpus' settings. Loads the network, so that a wrong file is an error before
    anything is cut: `FileNotFoundError`, or `ValueError` when it holds another network."""
    weights = None
    if settings.syncnet:
        weights = SyncNetWeights(settings.syncnet, load_network(settings.syncnet)[1])
    return SyncCheck(settings.correct_sync_offset or 0, weights)


def measure_sync(
    model: SyncNet,
    frames: Iterable[Frames],
    boxes: NDArray[np.float64],
    wave: NDArray[np.float32],
) -> Sync | None:
    """SyncNet's estimate from RGB frames [H, W, 3] at 25 fps, a face's boxes [T, 4] in pixels (NaN
    without one) and the wave [N] at 16 kHz that begins with them; None without a long and large
    enough track."""
    from paha_core.models.syncnet import sync_score

    score = sync_score(model, frames, wave, boxes, min_frames=MIN_FRAMES, min_size=MIN_SIDE)
    return None if score is None else Sync(-score.offset, score.confidence, SURE)


@cache
def load_network(path: str) -> tuple[SyncNet, str]:
    """The network, once a process and on a GPU where there is one, and its file's sha256."""
    from paha_core.models.syncnet import load_syncnet
    from paha_core.pose.stage import gpu_count, own_gpu

    gpus = gpu_count()
    device = f"cuda:{own_gpu(current_process().name, gpus)}" if gpus else "cpu"
    return load_syncnet(path, device)
