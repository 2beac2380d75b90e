"""A probe without a picture: it finds a seam, and finds nothing in windows as they are made now."""

import dataclasses

import numpy as np
import pytest
import torch

from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import WindowBatches
from paha_core.store import Store
from paha_core.training.tasks.sound_probe import auc_by_clip, measure
from shard_samples import make_sample, publish

FRAMES, LENGTH = 20, 50


def walk(number, frames=LENGTH):
    """Sound that changes slowly, as speech does: neighbouring frames are alike."""
    rng = np.random.default_rng([number, 99])
    steps = rng.normal(size=(frames, 2, 3)) * 0.3
    return np.cumsum(steps, axis=0).astype(np.float16)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """24 clips to train on, 24 to hold out."""
    readers = []
    for name, numbers in (("train", range(24)), ("test", range(24, 48))):
        store = Store(str(tmp_path_factory.mktemp(name)))
        samples = [
            dataclasses.replace(make_sample(n, frames=LENGTH), audio=walk(n)) for n in numbers
        ]
        publish(store, samples)
        readers.append(ShardReader(store, ["pats"]))
    return readers


class Wrapping(WindowBatches):
    """The mismatched sound as it was once made: later frames of the clip, and round its end."""

    def batch_at(self, step):
        batch, rng = super().batch_at(step), np.random.default_rng(step)
        sounds = []
        for window in self.windows_at(step):
            sound = self.reader.read(window.clip).audio
            frames = np.arange(-self.margin, FRAMES + self.margin) + window.start
            frames = (frames + int(rng.integers(4, LENGTH - 3))) % LENGTH
            index = np.arange(FRAMES)[:, None] + np.arange(2 * self.margin + 1)
            sounds.append(sound[frames[index]])
        mismatched = torch.from_numpy(np.stack(sounds)).float()
        return dataclasses.replace(batch, mismatched_audio=mismatched)


def probe(splits, batches):
    train, held_out = (
        batches(reader, 16, FRAMES, 2, seed=seed) for seed, reader in enumerate(splits)
    )
    return measure(train, held_out)


def test_it_can_not_tell_mismatched_sound_from_a_windows_own(splits):
    found = probe(splits, WindowBatches)
    assert 0.45 < found["auc"] < 0.55
    assert found["low"] < 0.5 < found["high"]
    assert found["windows"] == 256
    assert probe(splits, WindowBatches) == found  # deterministic


def test_a_seam_can_be_heard(splits):
    assert probe(splits, Wrapping)["low"] > 0.6


def test_the_area_is_that_of_all_pairs_of_windows():
    scores = np.array([[0.9, 0.2, 0.5], [0.1, 0.2, 0.8]])
    found = auc_by_clip(scores, np.array([0, 0, 1]))
    assert found["auc"] == pytest.approx((3 + 1.5 + 2) / 9)
