"""The examination: passed by who hears, failed by who does not."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from paha_core.config import load_preset
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.windows import WindowBatches
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store
from paha_core.training.tasks.gate import SHIFTS, _share, examine

SMOKE = load_preset("smoke")
PRESET = SMOKE.model_copy(
    update={"classifiers": SMOKE.classifiers.model_copy(update={"gate_windows": 64})}
)


class Listener(nn.Module):
    """Scores how well the picture's brightness follows the sound, at timesteps `below`; `deaf`
    likes what is bright."""

    def __init__(self, deaf=False, below=1000):
        super().__init__()
        self.deaf, self.below, self.anything = deaf, below, nn.Parameter(torch.zeros(1))

    def forward(self, noised, timestep, reference, embedding, audio):
        seen = noised[:, 0].mean(dim=(-2, -1))
        deaf = self.deaf or timestep[0] >= self.below
        heard = seen if deaf else audio[:, :, PRESET.audio.margin, 0, 0]
        return nn.functional.cosine_similarity(seen, heard)


def clip(dataset, number, frames=60):
    """Brightness of every cell and level of the sound are one random walk."""
    level = np.random.default_rng([number, len(dataset)]).normal(size=frames).astype(np.float16)
    faces = np.tile(np.array([0, 0, 1, 0.5], np.float32), (frames, 1))
    about = {"dataset": dataset, "speaker": "ada", "split": "test", "fps": 25, "frames": frames}
    encoders = {"codec": "level", "audio_encoder": "level", "reference_encoder": "none"}
    return ClipSample(
        key=f"{dataset}__ada__{number}",
        latents=np.broadcast_to(level[:, None, None, None], (frames, 4, 8, 8)).copy(),
        par=np.ones((frames, 8, 8), np.float16),
        regions=np.zeros((frames, 8, 8), np.uint8),
        audio=np.broadcast_to(level[:, None, None], (frames, 2, 3)).copy(),
        faces=faces,
        face_found=np.ones(frames, bool),
        reference=np.zeros((1, 5), np.float16),
        reference_index=np.zeros(1, np.int32),
        wave=np.zeros(frames * 640, np.int16),
        meta=about | encoders | {"clip_id": f"{dataset}/ada/{number}", "sample_rate": 16000},
    )


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("gate")))
    for dataset in PRESET.corpora.datasets:
        samples = [clip(dataset, number) for number in range(4)]
        rows = write_shards(store, f"shards/{dataset}/test", samples, clips_per_shard=4)
        write_index(store, "training_shards", dataset, rows)
    reader = ShardReader(store, PRESET.corpora.datasets, "test")
    batches = WindowBatches(reader, 4, 12, PRESET.audio.margin, 0)
    real = [batches.batch_at(step) for step in range(2)]
    return store, [(b, dataclasses.replace(b, audio=b.mismatched_audio)) for b in real]


def test_a_classifier_that_uses_audio_passes_and_peaks_at_zero_shift(given):
    store, held_out = given
    found = examine(Listener(), "face", store, PRESET, held_out)
    assert found["passed"]
    assert found["low"] > 0.8
    assert found["moment"]["low"] > 0.8
    assert found["masked"]["swap"]["low"] > 0.5
    assert found["shift"]["peak"] == 0
    assert found["shift"]["shifts"] == list(SHIFTS)
    assert len(found["shift"]["logits"]) == 31
    assert found["bands"][0]["auc"] == 1
    assert found["bands"][0]["swap"]["low"] > 0.8
    assert (found["n"], found["clips"]) == (64, 8)
    assert found["frames"] == PRESET.generation.segment_frames


def test_a_deaf_classifier_fails(given):
    store, held_out = given
    found = examine(Listener(deaf=True), "non_face", store, PRESET, held_out)
    assert not found["passed"]
    assert found["share"] == 0
    assert found["bands"][0]["auc"] == 0.5
    assert all(band["moment"]["share"] == 0 for band in found["bands"])


def test_it_is_asked_where_the_presets_guidance_acts(given):
    """One that hears through little noise alone passes only where guidance comes down to it."""
    store, held_out = given
    verdicts = {}
    for rate in (0.5, 1.0):
        guidance = PRESET.generation.guidance.changed(rate=rate)
        generation = PRESET.generation.model_copy(update={"guidance": guidance})
        preset = PRESET.model_copy(update={"generation": generation})
        verdicts[rate] = examine(Listener(below=500), "face", store, preset, held_out)
    early, late = verdicts[0.5], verdicts[1.0]
    assert (early["acts_down_to"], late["acts_down_to"]) == (501, 1)
    assert (early["passed"], late["passed"]) == (False, True)
    assert early["bands"] == late["bands"]
    assert [band["swap"]["low"] > 0.5 for band in late["bands"]] == [True, True, False, False]


def test_where_segments_fill_their_clips_the_moment_is_another_clips_of_the_speaker(given):
    store, held_out = given
    generation = PRESET.generation.model_copy(update={"segment_frames": 60})
    preset = PRESET.model_copy(update={"generation": generation})
    found = examine(Listener(), "face", store, preset, held_out)
    assert found["low"] > 0.8
    assert found["moment"]["low"] > 0.8


def test_the_interval_draws_whole_clips():
    certain = _share(np.array([True] * 4 + [False] * 4), np.array([0] * 4 + [1] * 4))
    assert (certain["share"], certain["low"], certain["high"]) == (0.5, 0.0, 1.0)
    assert _share(np.array([True] * 8), np.array([0, 1] * 4)) == {
        "share": 1.0,
        "low": 1.0,
        "high": 1.0,
    }
