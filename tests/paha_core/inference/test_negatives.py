"""Self-distilled negatives on the smallest networks: what is planned, made, told, and kept."""

import json

import numpy as np
import pytest

from paha_core.config import NegativeConfig
from paha_core.engine.manifest_stage import read_manifest
from paha_core.inference import negatives
from paha_core.inference.negatives import STAGE, Maker, Work, make_negatives, plan
from paha_core.pretrained import weights_sha256
from paha_core.shards.reader import ShardReader
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store
from paha_core.trained import FOR_NEGATIVES

DATASET = "cnas"
FRAMES = 20


@pytest.fixture(scope="module")
def preset(pipeline):
    config = NegativeConfig(lengths=(6, 8), count=4, batch=2, ddim_steps=1)
    generation = pipeline.preset.generation.model_copy(update={"segment_frames": 6})
    corpora = pipeline.preset.corpora.model_copy(update={"pats": None})
    changes = {"negatives": config, "generation": generation, "corpora": corpora}
    return pipeline.preset.model_copy(update=changes)


@pytest.fixture
def store(pipeline, clip_sample, tmp_path):
    """Four clips to train on, two held out, and the checkpoint that makes the negatives."""
    store, rows = Store(str(tmp_path)), []
    for split, names in (("train", "aabb"), ("test", "ab")):
        samples = [clip_sample(speaker, n, split) for n, speaker in enumerate(names)]
        made = write_shards(store, f"shards/{DATASET}/{split}", samples, clips_per_shard=4)
        rows += [row | {"fingerprint": row["checksum"]} for row in made]
    write_index(store, "training_shards", DATASET, rows)
    with store.writing_folder(FOR_NEGATIVES) as folder:
        pipeline.univdm.save_pretrained(folder)
        described = {"fingerprint": "half-trained", "step": pipeline.preset.negatives_step}
        (folder / "training.json").write_text(json.dumps(described))
    return store


def reader(store, split="train"):
    return ShardReader(store, [DATASET], split)


def test_lengths_are_uniform_voices_take_turns_and_faces_are_the_speakers_own(store, preset):
    clips = reader(store)
    groups = plan(clips, DATASET, "train", preset.negatives, 16)
    assert [group.plans[0].frames for group in groups] == [6, 8] * 4
    plans = [p for group in groups for p in group.plans]
    assert [p.voice for p in plans] == [0, 1, 2, 3] * 4
    speaker = [row["speaker"] for row in clips.rows]
    assert all(speaker[p.face] == speaker[p.voice] for p in plans)
    assert len({p.reference for p in plans}) > 4
    assert all(0 <= p.start <= FRAMES - p.frames for p in plans)
    again = plan(clips, DATASET, "train", preset.negatives, 20)
    assert again[: len(groups)] == groups  # more of them are more, not others


def test_without_augmentation_length_and_reference_are_fixed(store, preset):
    fixed = preset.negatives.model_copy(update={"augment": False})
    plans = [p for g in plan(reader(store), DATASET, "train", fixed, 8) for p in g.plans]
    assert {(p.frames, p.reference) for p in plans} == {(8, 0)}
    assert all(p.face == p.voice for p in plans)
    assert fixed.lengths_within(7) == (6,)


def test_a_negative_tells_what_made_it_and_is_not_made_again(store, preset, pipeline):
    done = make_negatives(store, preset)[DATASET]
    assert (done.computed, done.reused) == (6, 0)  # four to train on, and a batch held out
    rows = {row["clip_id"]: row for row in read_manifest(store, STAGE, DATASET)}
    made = ShardReader(store, [DATASET], "train", STAGE)
    sample = made.read(3)
    about = sample.meta
    assert about["clip_id"] == f"{DATASET}/negative/train-000003"
    assert about["voice"] == f"{DATASET}/b/3"
    assert about["face"].startswith(f"{DATASET}/b/")
    assert (about["checkpoint"], about["step"]) == ("half-trained", 12)
    assert about["weights"] == weights_sha256(pipeline.univdm)
    assert {name: about[name] for name in ("seed", "batch", "ddim_steps", "segment_frames")} == {
        **{"seed": 0, "batch": 1, "ddim_steps": 1, "segment_frames": 6}
    }
    # its sound is the voice's, its reference a real frame of the face
    voice, start = reader(store).read(3), about["voice_start"]
    assert np.array_equal(sample.audio, voice.audio[start : start + 8])
    face = reader(store).read(int(about["face"][-1]))
    assert np.array_equal(sample.reference_latents[0], face.latents[about["reference_frame"]])
    start_of_both = [x.latents[0].astype(float).ravel() for x in (sample, face)]
    assert np.corrcoef(*start_of_both)[0, 1] > 0.99  # it goes on from the face's first frame
    assert sample.frames == 8  # two chained segments

    again = make_negatives(store, preset)[DATASET]
    assert (again.computed, again.reused) == (0, 6)
    longer = preset.generation.model_copy(update={"segment_frames": 8})
    other = make_negatives(store, preset.model_copy(update={"generation": longer}))[DATASET]
    assert other.computed == 6
    assert all(
        row["fingerprint"] != rows[row["clip_id"]]["fingerprint"]
        for row in read_manifest(store, STAGE, DATASET)
    )


def test_a_killed_run_goes_on_and_forgets_nothing(store, preset, monkeypatch):
    make_negatives(store, preset)
    whole = read_manifest(store, STAGE, DATASET)
    for row in whole[0], whole[2]:  # of both batches to train on; the held-out one stands
        store.remove(row["shard"])

    def killed(*arguments, **options):
        monkeypatch.setattr(negatives, "write_shards", stopped)
        return write_shards(*arguments, **options)

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(negatives, "write_shards", killed)
    with pytest.raises(KeyboardInterrupt):
        make_negatives(store, preset)
    kept = read_manifest(store, STAGE, DATASET)
    assert [row["clip_id"] for row in kept] == [whole[i]["clip_id"] for i in (0, 1, 4, 5)]
    monkeypatch.setattr(negatives, "write_shards", write_shards)
    done = make_negatives(store, preset)[DATASET]
    assert (done.computed, done.reused) == (2, 4)
    assert read_manifest(store, STAGE, DATASET) == whole  # hashes and all


def test_several_devices_make_what_one_makes(store, preset):
    one = {row["clip_id"]: row for row in make_negatives(store, preset)[DATASET].table.to_pylist()}
    alone = ShardReader(store, [DATASET], "train", STAGE).read(2)
    for row in one.values():
        store.remove(row["shard"])
    work = Work(store, preset, DATASET)
    done = work.finish([Maker(store, preset, "cpu"), Maker(store, preset, "cpu")])
    assert done.computed == 6
    assert [row["clip_id"] for row in done.table.to_pylist()] == list(one)
    together = ShardReader(store, [DATASET], "train", STAGE).read(2)
    assert together.meta == alone.meta
    np.testing.assert_allclose(
        together.latents.astype(float), alone.latents.astype(float), atol=1e-2
    )


def test_lengths_that_no_clip_has_are_named(store, preset):
    long = preset.negatives.model_copy(update={"lengths": (30,)})
    with pytest.raises(Exception, match="no train clip of cnas has 30 frames"):
        make_negatives(store, preset.model_copy(update={"negatives": long}))
