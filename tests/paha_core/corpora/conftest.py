"""For the ingestion tests: settings without slow filters, a video that counts its frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paha_core.config import ClipConfig, CnasConfig, CorporaConfig, PatsConfig
from paha_core.media.encode import write_video
from paha_core.store import Store

RATE = 16000


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def config() -> CorporaConfig:
    """Without the slow filters."""
    slow = ("min_body_share", "max_hand_gap", "min_dnsmos", "max_jitter")
    return CorporaConfig(
        clip=ClipConfig(size=128),
        pats=PatsConfig(csv="-", videos="-", min_seconds=1.0),
        cnas=CnasConfig(
            programmes="-",
            clip_frames=50,
            region=(128, 224),
            test_share=0.25,
            **dict.fromkeys(slow),
        ),
    )


@pytest.fixture(scope="session")
def counter() -> Callable[..., Path]:
    """Writes a 96x64 video: stripes of 8 px from x = 16 spell each frame's number in binary.

    Its sound is faint noise with a click at 1 second and at 6.
    """

    def make(path: Path, *, fps: float = 30, frames: int = 90, sound: bool = True) -> Path:
        video = np.zeros((frames, 64, 96, 3), np.uint8)
        bits = np.arange(frames)[:, None] >> np.arange(8) & 1
        video[:, :, 16:80] = 250 * np.repeat(bits, 8, axis=1)[:, None, :, None]
        wave = np.random.default_rng(0).normal(0, 0.01, round(frames / fps * RATE))
        for second in (1, 6):
            wave[second * RATE : second * RATE + 160] = 0.9
        kwargs = {"wave": wave.astype(np.float32), "sample_rate": RATE} if sound else {}
        write_video(path, video, fps=fps, crf=4, **kwargs)
        return path

    return make
