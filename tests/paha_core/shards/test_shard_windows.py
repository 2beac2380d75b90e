"""Batches: pure in the step, exact over ranks, audio beside its frame."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import torch

from paha_core.config import TrainConfig
from paha_core.errors import UserError
from paha_core.shards.prefetch import Prefetched
from paha_core.shards.reader import ShardError, ShardReader
from paha_core.shards.windows import (
    Batch,
    WindowBatches,
    batch_of,
    face_mask,
)
from shard_samples import make_sample, publish


@pytest.fixture
def reader(store):
    publish(store, [make_sample(n, frames=8 + n % 5) for n in range(13)])
    return ShardReader(store, ["pats"])


def assert_equal(a, b):
    assert a.keys == b.keys
    for field in dataclasses.fields(Batch):
        if field.name != "keys":
            assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


def test_shapes_and_types(reader):
    batch = WindowBatches(reader, 3, 6, 2, seed=0).batch_at(0).to("cpu")
    shapes = {
        "latents": (3, 4, 6, 8, 8),
        "par": (3, 6, 8, 8),
        "regions": (3, 6, 8, 8),
        "audio": (3, 6, 5, 2, 3),
        "reference_latents": (3, 4, 8, 8),
        "reference_embedding": (3, 5),
        "first_frame": (3, 4, 8, 8),
        "face_mask": (3, 8, 8),
    }
    assert {name: tuple(getattr(batch, name).shape) for name in shapes} == shapes
    assert batch.regions.dtype == torch.uint8
    assert all(getattr(batch, n).dtype == torch.float32 for n in shapes if n != "regions")
    assert torch.equal(batch.first_frame, batch.latents[:, :, 0])


def test_batch_at_is_pure_and_resumes_exactly(store, reader):
    run = WindowBatches(reader, 3, 6, 2, seed=5)
    batches = [run.batch_at(step) for step in range(12)]
    fresh = WindowBatches(ShardReader(store, ["pats"]), 3, 6, 2, seed=5)
    assert_equal(fresh.batch_at(11), batches[11])
    assert_equal(fresh.batch_at(2), batches[2])
    other = WindowBatches(reader, 3, 6, 2, seed=6)
    assert [b.keys for b in batches] != [other.batch_at(step).keys for step in range(12)]


@pytest.mark.parametrize(("batch", "world"), [(2, 3), (1, 13), (5, 2)])
def test_ranks_partition_each_epoch_exactly(reader, batch, world):
    ranks = [
        WindowBatches(reader, batch, 8, 1, seed=1, rank=r, world_size=world) for r in range(world)
    ]
    one = WindowBatches(reader, batch * world, 8, 1, seed=1)
    steps = 13 * 4 // (batch * world) + 1
    stream = []
    for step in range(steps):
        together = list(itertools.chain(*(rank.windows_at(step) for rank in ranks)))
        assert together == one.windows_at(step)
        stream += [window.clip for window in together]
    epochs = [stream[i : i + 13] for i in range(0, len(stream) - 12, 13)]
    assert len(epochs) >= 4
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert epochs[0] != epochs[1]


class Counting:
    """Batches that note who made which step."""

    def __init__(self, batches):
        self.batches, self.made = batches, []

    def batch_at(self, step):
        self.made.append((step, threading.current_thread().name))
        return self.batches.batch_at(step)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_share_the_steps_without_overlap_or_loss(reader, workers):
    """Ranks and workers split one stream: each step of each rank is made once, and exactly."""
    for rank in (0, 1):
        plain = WindowBatches(reader, 3, 6, 2, seed=5, rank=rank, world_size=2)
        counting = Counting(plain)
        with Prefetched(counting, workers=workers) as ahead:
            for step in range(7, 19):  # as a run that resumes at step 7
                assert_equal(ahead.batch_at(step), plain.batch_at(step))
        steps = sorted(step for step, _ in counting.made)
        assert steps[:12] == list(range(7, 19))
        assert len(steps) == len(set(steps)) <= 14
        assert len({name for _, name in counting.made}) <= workers


def test_prefetching_survives_leaps(reader):
    plain = WindowBatches(reader, 3, 6, 2, seed=5)
    with Prefetched(plain, depth=1) as ahead:
        for step in (0, 1, 50, 51, 2, 2, 3):
            assert_equal(ahead.batch_at(step), plain.batch_at(step))
            assert len(ahead._pending) <= 6


@pytest.mark.parametrize(("world", "micro_batch"), [(1, 8), (1, 2), (2, None), (4, 1), (8, None)])
def test_a_step_has_the_same_clips_however_many_processes_share_it(reader, world, micro_batch):
    micro, times = TrainConfig(batch=8, micro_batch=micro_batch).shares(world)
    one = WindowBatches(reader, 8, 6, 2, seed=5)
    ranks = [WindowBatches(reader, micro, 6, 2, 5, rank, world) for rank in range(world)]
    for step in (0, 3):
        numbers = range(step * times, (step + 1) * times)
        shared = [w for number in numbers for rank in ranks for w in rank.windows_at(number)]
        assert shared == one.windows_at(step)


def test_windows_stay_inside_and_reach_everything(reader):
    run = WindowBatches(reader, 13, 6, 0, seed=2)
    starts, outside = {}, 0
    for window in itertools.chain(*(run.windows_at(step) for step in range(60))):
        length = reader.frames[window.clip]
        assert 0 <= window.start <= length - 6
        assert 0 <= window.reference < length
        outside += not window.start <= window.reference < window.start + 6
        starts.setdefault(window.clip, set()).add(window.start)
    assert outside == 60 * 13
    assert all(found == set(range(reader.frames[c] - 5)) for c, found in starts.items())


def test_audio_and_references_sit_where_the_frame_is(reader):
    run = WindowBatches(reader, 5, 6, 2, seed=3)
    for step in range(6):
        batch, windows = run.batch_at(step), run.windows_at(step)
        for b, window in enumerate(windows):
            frames = batch.latents[b, 1, :, 0, 0]  # this channel holds the frame's number
            assert frames.tolist() == list(range(window.start, window.start + 6))
            assert torch.equal(batch.audio[b, :, 2, 0, 0], frames)
            last = reader.frames[window.clip] - 1
            assert torch.equal(batch.audio[b, :, 0, 0, 0], (frames - 2).clamp(min=0))
            assert torch.equal(batch.audio[b, :, 4, 0, 0], (frames + 2).clamp(max=last))
            assert batch.reference_latents[b, 1, 0, 0] == window.reference
            stored = reader.read(window.clip).reference_index
            nearest = min(abs(int(i) - window.reference) for i in stored)
            assert abs(batch.reference_embedding[b, 0] - window.reference) == nearest


def test_short_clips_are_left_out_and_counted(reader):
    run = WindowBatches(reader, 4, 10, 1, seed=0)
    short = sum(length < 10 for length in reader.frames)
    assert run.too_short == short > 0
    seen = {w.clip for step in range(10) for w in run.windows_at(step)}
    assert seen == {i for i, length in enumerate(reader.frames) if length >= 10}
    with pytest.raises(UserError, match="none of 13 clips has 99 frames"):
        WindowBatches(reader, 4, 99, 1, seed=0)


def test_face_mask_covers_touched_cells():
    boxes = np.array([[0.25, 0.0, 0.5, 0.25], [0.55, 0.5, 0.6, 0.7], [0, 0, 1, 1]], np.float32)
    mask = face_mask(boxes, np.array([True, True, False]), 8, 8)
    expected = np.zeros((8, 8), np.float32)
    expected[0:2, 2:4] = 1
    expected[4:6, 4:5] = 1
    np.testing.assert_array_equal(mask, expected)


def test_face_mask_of_a_batch_is_the_windows_union(reader):
    run = WindowBatches(reader, 4, 6, 0, seed=4)
    batch = run.batch_at(0)
    for mask, window in zip(batch.face_mask, run.windows_at(0)):
        faces = reader.read(window.clip).faces[window.start : window.start + 6]
        columns = mask.amax(0).nonzero().ravel()
        assert int(columns[0]) == int(faces[0, 0] * 8 + 1e-4)
        assert int(columns[-1]) == int(np.ceil(faces[-1, 2] * 8 - 1e-4)) - 1
        assert mask.amax(1).nonzero().ravel().tolist() == [2, 3]


def test_batches_stop_at_a_bad_shard_or_skip_it(store, reader):
    bad = reader.rows[0]["shard"]
    lost = {row["key"] for row in reader.rows if row["shard"] == bad}
    store.remove(bad)
    with Prefetched(WindowBatches(reader, 4, 6, 1, seed=0)) as ahead:
        with pytest.raises(ShardError, match=bad):
            [ahead.batch_at(step) for step in range(5)]
    run = WindowBatches(ShardReader(store, ["pats"], on_bad_shard="skip"), 4, 6, 1, seed=0)
    keys = [key for step in range(8) for key in run.batch_at(step).keys]
    assert len(keys) == 32
    assert set(keys) == {row["key"] for row in reader.rows} - lost
    assert run.reader.bad_shards[bad] > 0
    again = WindowBatches(ShardReader(store, ["pats"], on_bad_shard="skip"), 4, 6, 1, seed=0)
    assert again.batch_at(5).keys == keys[20:24]
    for row in reader.rows:
        store.remove(row["shard"])
    gone = WindowBatches(ShardReader(store, ["pats"], on_bad_shard="skip"), 4, 6, 1, seed=0)
    with pytest.raises(ShardError, match="none of them can be read"):
        gone.batch_at(0)


def heard(audio):
    """The frames of audio windows of `make_sample`'s sound, whose value is the frame."""
    return audio[:, 2, 0, 0].tolist()


def test_mismatched_audio_is_a_run_of_frames_of_the_same_clip_at_least_four_away(store):
    publish(store, [make_sample(n, frames=20 + n) for n in range(3)])
    batches = WindowBatches(ShardReader(store, ["pats"]), 3, 6, 2, seed=0)
    for step in range(40):
        batch = batches.batch_at(step)
        assert batch.has_mismatch.all()
        for row, window in enumerate(batches.windows_at(step)):
            clip, start = window.mismatch
            assert clip == window.clip
            assert abs(start - window.start) >= 4
            assert heard(batch.mismatched_audio[row]) == list(range(start, start + 6))


def test_a_mismatched_start_is_as_likely_anywhere_as_a_true_one(store):
    publish(store, [make_sample(0, frames=14)])
    batches = WindowBatches(ShardReader(store, ["pats"]), 1, 6, 2, seed=0)
    windows = [batches.windows_at(step)[0] for step in range(3000)]
    for starts in ([w.start for w in windows], [w.mismatch[1] for w in windows]):
        assert np.bincount(starts, minlength=9) / 3000 == pytest.approx(1 / 9, abs=0.025)


def test_clips_too_short_for_another_moment_take_another_clip_of_the_speaker_or_none(store):
    speakers = ["ada", "ada", "ada", "bob"]
    samples = [make_sample(n, frames=12, speaker=name) for n, name in enumerate(speakers)]
    publish(store, [*samples, make_sample(4, frames=30, speaker="bob")])
    reader = ShardReader(store, ["pats"])
    batches = WindowBatches(reader, 5, 6, 2, seed=0)
    for step in range(20):
        batch, windows = batches.batch_at(step), batches.windows_at(step)
        for row, window in enumerate(windows):
            if window.clip < 3:
                assert window.mismatch[0] in {0, 1, 2} - {window.clip}
                start = window.mismatch[1]
                assert heard(batch.mismatched_audio[row]) == list(range(start, start + 6))
            elif window.clip == 3:  # bob's other clip has moments of its own
                assert window.mismatch is None
                assert not batch.has_mismatch[row]
            else:
                assert window.mismatch[0] == 4


def test_given_windows_make_a_batch(reader):
    batches = WindowBatches(reader, 3, 6, 2, seed=0)
    assert_equal(batch_of(reader, batches.windows_at(4), 2), batches.batch_at(4))


def test_a_generated_sample_keeps_the_real_reference_it_was_made_from(store):
    real = np.full((1, 4, 8, 8), -3, np.float16)
    made = dataclasses.replace(
        make_sample(1),
        reference_latents=real,
        reference=np.ones((1, 5), np.float16),
        reference_index=np.zeros(1, np.int32),
    )
    publish(store, [made])
    batch = WindowBatches(ShardReader(store, ["pats"]), 2, 6, 2, seed=0).batch_at(0)
    assert batch.reference_latents.eq(-3).all()
    assert batch.latents[:, 0].eq(1).all()
