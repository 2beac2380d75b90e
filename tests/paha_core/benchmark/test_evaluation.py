"""Cells made of measured videos: what is compared with what."""

from dataclasses import replace

import numpy as np
import pytest

from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.evaluation import Evaluation
from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.video_metrics import Measured, drawn_truth
from paha_core.benchmark.measuring.videos import Video
from paha_core.config import Preset
from paha_core.store import Store

CLIP = {"clip_id": "pats/oliver/003", "speaker": "oliver", "programme": "programme3.mp4"}


def test_a_short_video_is_held_against_the_beats_of_its_own_length(
    run_store: Store, run_preset: Preset
) -> None:
    whole = Video("S2G", CLIP["clip_id"], "", "", 64, "", "")
    short = replace(whole, system="SDT", frames=30)  # 1.2 s: the drawn beat at 1.5 s is not in it
    systems = {"S2G": [whole], "SDT": [short]}
    found = Evaluation(run_preset, systems, Extractors(run_store, run_preset), "no space")
    for video in (short, whole):  # whichever comes last
        found.measured[video.key] = Measured(strokes=[0.5])
        truth = drawn_truth(run_store, CLIP | {"start": 0.0}, video.frames)
        found.truths[video.clip_id, video.frames] = truth
    assert found.cell("beat_error", "SDT", "all").interval.value == 0
    assert found.cell("beat_error", "S2G", "all").interval.value == pytest.approx(0.125)


def test_one_clip_has_a_value_and_no_interval(run_store: Store, run_preset: Preset) -> None:
    from paha_core.benchmark.measuring.videos import collect_videos

    [video, *_] = collect_videos(run_store, run_preset)["sequential"]
    found = evaluate(run_store, run_preset, {"sequential": [video]})
    row = found.row("main", "sequential", "all", "face_share")
    assert (row.value, row.low, row.high, row.n, row.clips) == (1, None, None, 1, 1)
    assert "at least 2 clips" in found.row("main", "sequential", "all", "diversity").reason
    curve = np.asarray(found.measured[video.key].openness)
    assert len(curve) == video.frames
