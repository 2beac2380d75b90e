"""Self-distilled negatives on the smallest networks: their plan, report and files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import read_manifest
from paha_core.errors import UserError
from paha_core.inference import negatives
from paha_core.inference.negatives import STAGE, NegativePlan, count_of, make_negatives, plan
from paha_core.pretrained import weights_sha256
from paha_core.shards.reader import ShardReader
from paha_core.shards.writer import write_shards
from paha_core.stages.leftovers import superseded_negatives

SUPPORT = Path(__file__).parents[2] / "support"
DATASET = "cnas"
FRAMES = 20


@pytest.fixture
def preset(negatives_preset):
    return negatives_preset


@pytest.fixture
def store(negatives_store):
    return negatives_store


def reader(store, split="train"):
    return ShardReader(store, [DATASET], split)


def changed(preset, **values):
    return preset.model_copy(update={"negatives": preset.negatives.model_copy(update=values)})


def test_lengths_take_turns_and_faces_are_the_speakers_own(store, preset):
    clips = reader(store)
    plans = plan(clips, DATASET, "train", preset.negatives, 16)
    assert [p.frames for p in plans] == [6, 8] * 8
    speaker = [row["speaker"] for row in clips.rows]
    assert all(speaker[p.face] == speaker[p.voice] for p in plans)
    assert len({p.reference for p in plans}) > 4
    assert all(0 <= p.start <= FRAMES - p.frames for p in plans)
    again = plan(clips, DATASET, "train", preset.negatives, 20)
    assert again[:16] == plans  # more of them are more, not others


def test_every_length_meets_every_voice_before_it_meets_one_again(store, preset):
    plans = plan(reader(store), DATASET, "train", preset.negatives, 24)
    orders = []
    for frames in (6, 8):
        voices = [p.voice for p in plans if p.frames == frames]
        rounds = [voices[i : i + 4] for i in range(0, 12, 4)]
        assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)
        orders += rounds
    assert len({tuple(one) for one in orders}) > 1  # no order of all lengths and rounds


def test_what_memory_allows_changes_no_negative(store, preset):
    """Another `negatives.batch` groups them otherwise; those that exist stay."""
    done = make_negatives(store, preset)[DATASET]
    one_by_one = make_negatives(store, changed(preset, batch=1))[DATASET]
    assert (one_by_one.computed, one_by_one.reused) == (0, len(done.table))
    assert one_by_one.table == done.table
    for row in done.table.to_pylist()[1:3]:
        store.remove(row["shard"])
    again = make_negatives(store, changed(preset, batch=3))[DATASET]
    assert again.computed == 4
    made = {row["clip_id"]: row["fingerprint"] for row in again.table.to_pylist()}
    assert made == {row["clip_id"]: row["fingerprint"] for row in done.table.to_pylist()}


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"batch": 1, "count": 40}, True),
        ({"precision": "bf16"}, False),
        ({"compile": True}, False),
        ({"seed": 1}, False),
    ],
)
def test_the_fingerprint_holds_what_a_negative_depends_on(store, preset, change, is_same):
    first, other = (
        NegativePlan(store, one, DATASET).fingerprints
        for one in (preset, changed(preset, **change))
    )
    clip = f"{DATASET}/negative/train-000001"
    assert (first[clip] == other[clip]) == is_same


def test_there_are_as_many_held_out_negatives_as_validation_uses(preset):
    """Sixteen pairs, two at a time, lengths in turn: eight of each of two lengths."""
    trainer = preset.trainer.model_copy(update={"validation_windows": 16})
    preset = preset.model_copy(update={"trainer": trainer})
    assert count_of(preset, "test") == 16
    assert count_of(changed(preset, count=50_000), "test") == 16
    assert count_of(changed(preset, lengths=(6, 8, 10)), "test") == 18
    assert count_of(changed(preset, augment=False), "test") == 16
    assert count_of(preset, "train") == preset.negatives.count


def test_without_augmentation_length_and_reference_are_fixed(store, preset):
    fixed = preset.negatives.model_copy(update={"augment": False})
    plans = plan(reader(store), DATASET, "train", fixed, 8)
    assert {(p.frames, p.reference) for p in plans} == {(8, 0)}
    assert all(p.face == p.voice for p in plans)
    assert fixed.lengths_within(7) == (6,)


def test_a_negative_has_provenance_and_is_not_made_again(store, preset, pipeline):
    done = make_negatives(store, preset)[DATASET]
    assert (done.computed, done.reused) == (8, 0)  # four to train on, and four held out
    rows = {row["clip_id"]: row for row in read_manifest(store, STAGE, DATASET)}
    made = ShardReader(store, [DATASET], "train", STAGE)
    sample = made.read(3)
    about = sample.meta
    assert about["clip_id"] == f"{DATASET}/negative/train-000003"
    number = int(about["voice"][-1])
    assert about["face"].rpartition("/")[0] == about["voice"].rpartition("/")[0]
    assert (about["checkpoint"], about["step"]) == ("half-trained", 12)
    assert about["weights"] == weights_sha256(pipeline.univdm)
    settings = {"seed": 0, "ddim_steps": 1, "segment_frames": 6, "precision": "fp32"}
    assert {name: about[name] for name in settings} == settings
    # its sound is the voice's, its reference a real frame of the face
    voice, start = reader(store).read(number), about["voice_start"]
    assert np.array_equal(sample.audio, voice.audio[start : start + 8])
    face = reader(store).read(int(about["face"][-1]))
    assert np.array_equal(sample.reference_latents[0], face.latents[about["reference_frame"]])
    start_of_both = [x.latents[0].astype(float).ravel() for x in (sample, face)]
    assert np.corrcoef(*start_of_both)[0, 1] > 0.99  # it goes on from the face's first frame
    assert sample.frames == 8  # two chained segments

    again = make_negatives(store, preset)[DATASET]
    assert (again.computed, again.reused) == (0, 8)
    longer = preset.generation.model_copy(update={"segment_frames": 8})
    other = make_negatives(store, preset.model_copy(update={"generation": longer}))[DATASET]
    assert other.computed == 8
    assert all(
        row["fingerprint"] != rows[row["clip_id"]]["fingerprint"]
        for row in read_manifest(store, STAGE, DATASET)
    )


def test_a_killed_run_resumes_without_loss(store, preset, monkeypatch):
    make_negatives(store, preset)
    whole = read_manifest(store, STAGE, DATASET)
    for row in whole[0], whole[1]:  # both batches to train on; the held-out ones exist
        store.remove(row["shard"])

    def killed(*arguments, **options):
        monkeypatch.setattr(negatives, "write_shards", stopped)
        return write_shards(*arguments, **options)

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(negatives, "write_shards", killed)
    with pytest.raises(KeyboardInterrupt):
        make_negatives(store, preset)
    assert len(NegativePlan(store, preset, DATASET).todo) == 2  # of one batch
    monkeypatch.setattr(negatives, "write_shards", write_shards)
    done = make_negatives(store, preset)[DATASET]
    assert (done.computed, done.reused) == (2, 6)
    assert read_manifest(store, STAGE, DATASET) == whole  # hashes and all


def test_superseded_negatives_are_those_of_other_settings(store, preset):
    first = make_negatives(store, preset)[DATASET]
    assert superseded_negatives(store, preset) == []
    other = changed(preset, seed=1)
    make_negatives(store, other)
    found = superseded_negatives(store, other)
    shards = {row["shard"] for row in first.table.to_pylist()}
    assert {path for path in found if path.endswith(".tar")} == shards
    assert len(found) == 2 * len(shards)  # and their records


# --- several processes ----------------------------------------------------------------------------


def start(store, preset, tmp_path, pause=0.0):
    """A process that makes negatives, `pause` seconds a batch, as a second host would; it holds a
    batch."""
    (tmp_path / "preset.json").write_text(preset.model_dump_json())
    command = [sys.executable, str(SUPPORT / "negatives_process.py"), str(tmp_path / "preset.json")]
    command += [store.root, str(pause)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holds a batch\n"
    return process


def files(store):
    return {rel: store.read_bytes(rel) for rel in store.glob("negatives/*")} | {
        "manifest": store.read_bytes(manifest_path(STAGE, DATASET))
    }


def forget(store):
    for rel in [*store.glob("negatives/*"), manifest_path(STAGE, DATASET)]:
        store.remove(rel)


def test_two_processes_take_over_a_dead_ones_batch_and_make_the_bytes_of_one(
    store, preset, tmp_path
):
    assert make_negatives(store, preset)[DATASET].computed == 8
    expected = files(store)
    forget(store)
    killed = start(store, preset, tmp_path, pause=1000.0)
    killed.kill()
    killed.wait()
    other = start(store, preset, tmp_path, pause=1.0)
    here = make_negatives(store, preset)[DATASET].computed
    there = int(other.communicate()[0].splitlines()[-1])
    assert here + there == 8
    assert there > 0
    assert files(store) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "tf32"}, "negatives.precision tf32 needs a GPU"),
        ({"precision": "bf16", "compile": True}, "loses gradients on a CPU"),
    ],
)
def test_a_precision_that_a_cpu_lacks_is_refused(store, preset, change, words):
    with pytest.raises(UserError, match=words):
        make_negatives(store, changed(preset, **change))
    assert not store.glob("negatives/*")


def test_lengths_that_no_clip_has_are_named(store, preset):
    long = preset.negatives.model_copy(update={"lengths": (30,)})
    with pytest.raises(Exception, match="no train clip of cnas has 30 frames"):
        make_negatives(store, preset.model_copy(update={"negatives": long}))
