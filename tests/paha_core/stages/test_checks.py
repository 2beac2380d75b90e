"""What is asked of a store after its stages; here of stores written by hand."""

import json

import pyarrow as pa
import pytest

from paha_core.config import load_preset
from paha_core.engine.manifest_files import manifest_path
from paha_core.stages import checks
from paha_core.store import Store
from paha_core.trained import gate_fingerprint, gate_verdict


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


@pytest.fixture(scope="module")
def preset():
    return load_preset("smoke")


def write(store, stage, dataset, rows):
    base = {"status": "kept", "reason": "", "speaker": "lin", "split": "train", "dataset": dataset}
    table = pa.Table.from_pylist([base | {"clip_id": str(n)} | row for n, row in enumerate(rows)])
    store.write_table(manifest_path(stage, dataset), table)


def test_keypoint_coverage(store, preset):
    assert not checks.keypoint_coverage(store, preset).passed
    good = {"face_share": 0.9, "body_share": 1.0}
    write(store, "keypoints", "cnas", [good, good])
    assert checks.keypoint_coverage(store, preset).passed
    write(store, "keypoints", "cnas", [good, good | {"face_share": 0.1}])
    assert "face_share is only 50%" in checks.keypoint_coverage(store, preset).message
    bad = good | {"status": "rejected"}
    write(store, "keypoints", "cnas", [good, bad, bad])
    assert "kept is only 33%" in checks.keypoint_coverage(store, preset).message


def test_leakage_fails_for_cnas_and_is_counted_for_pats(store, preset):
    both = [{"source_id": "a", "split": "train"}, {"source_id": "a", "split": "test"}]
    write(store, "clips", "pats", both)
    found = checks.split_leakage(store, preset)
    assert found.passed
    assert found.figures["pats sources in train and in test"] == 1
    write(store, "clips", "cnas", both)
    found = checks.split_leakage(store, preset)
    assert not found.passed
    assert "lin/a" in found.message


def test_a_test_clip_that_another_corpus_trains_on(store, preset):
    same = {"source_id": "a", "content_hash": f"{'3' * 48}:{'5' * 44}"}
    write(store, "clips", "pats", [same | {"clip_id": "pats/lin/1"}])
    write(store, "clips", "cnas", [same | {"clip_id": "cnas/lin/1"}])
    assert checks.split_leakage(store, preset).passed
    write(store, "clips", "cnas", [same | {"clip_id": "cnas/lin/1", "split": "test"}])
    found = checks.split_leakage(store, preset)
    assert not found.passed
    assert found.message == "cnas/lin/1 repeats pats/lin/1 in train"


def test_a_changed_shard_is_found(store, preset):
    sha256 = store.write_bytes("shards/cnas/train-0000.tar", b"x" * 512)
    row = {"shard": "shards/cnas/train-0000.tar", "sha256": sha256, "split": "train"}
    rows = [row | {"offset": 0, "bytes": 512, "checksum": "", "key": "cnas__lin__1"}]
    write(store, "training_shards", "cnas", rows)
    assert "no test clips" in checks.shard_integrity(store, preset).message
    write(store, "training_shards", "cnas", [*rows, rows[0] | {"split": "test"}])
    assert checks.shard_integrity(store, preset).passed
    store.write_bytes("shards/cnas/train-0000.tar", b"x" * 511 + b"y")
    assert "not the bytes that were written" in checks.shard_integrity(store, preset).message


@pytest.mark.parametrize(
    ("lines", "passed"),
    [
        ([{"step": 1, "loss": 0.5}, {"step": 1, "validation_loss": 0.4}], True),
        ([{"step": 1, "loss": 0.5}], False),
        ([{"step": 1, "loss": 0.5}, {"step": 1, "validation_loss": None}], False),
        ([{"step": 1, "loss": 0.5}, {"step": 1, "validation_loss": float("nan")}], False),
        (
            [{"step": 300, "loss": None, "skipped_steps": 3}, {"step": 300, "validation_loss": 1}],
            True,
        ),
        (
            [{"step": 200, "loss": 0.5, "skipped_steps": 3}, {"step": 200, "validation_loss": 1}],
            False,
        ),
        ([], False),
    ],
)
def test_losses_are_finite_and_held_out_loss_is_logged(store, lines, passed):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    store.write_bytes("checkpoints/univdm/log.jsonl", text.encode())
    assert checks.finite_loss(store, "univdm").passed is passed


def test_the_gate_is_read(store, preset):
    name = "face_classifier"
    assert not checks.audio_swap(store, preset, name).passed
    store.write_json(f"checkpoints/{name}/final/training.json", {"fingerprint": "a"})
    rate = {"share": 0.7, "low": 0.6, "high": 0.8}
    band = {"from": 0, "to": 250, "accuracy": 0.9, "auc": 0.95, "swap": rate, "moment": rate}
    gate = {"passed": True, "share": 0.8, "low": 0.7, "high": 0.9, "n": 40, "moment": rate}
    gate |= {"acts_down_to": 501, "bands": [band], "shift": {"peak": 1}}
    gate["fingerprint"] = gate_fingerprint(store, preset, name)
    store.write_json(f"checkpoints/{name}/gate.json", gate)
    found = checks.audio_swap(store, preset, name)
    assert found.passed
    assert "of 40 windows the score falls for 80%" in found.message
    assert found.figures["moment low"] == 0.6
    assert "other voice 70% (60% to 80%)" in found.figures["timesteps 0-250"]
    assert found.figures["peak of the shift curve, frames"] == 1


@pytest.mark.parametrize(
    ("low", "high", "passed"), [(0.47, 0.52, True), (0.53, 0.62, True), (0.56, 0.7, False)]
)
def test_sound_alone_must_not_tell_mismatched_sound(store, preset, low, high, passed):
    name = "face_classifier"
    assert not checks.sound_only(store, preset, name).passed
    gate = {"fingerprint": gate_fingerprint(store, preset, name)}
    gate["sound_only"] = {"auc": (low + high) / 2, "low": low, "high": high, "windows": 256}
    store.write_json(f"checkpoints/{name}/gate.json", gate)
    found = checks.sound_only(store, preset, name)
    assert found.passed is passed
    assert "on 256 held-out windows" in found.message


def test_a_verdict_is_about_one_network_and_one_use(store, preset):
    name, generation = "face_classifier", preset.generation
    store.write_json(f"checkpoints/{name}/final/training.json", {"fingerprint": "a"})
    verdict = {"passed": True, "fingerprint": gate_fingerprint(store, preset, name)}
    store.write_json(f"checkpoints/{name}/gate.json", verdict)
    assert gate_verdict(store, preset, name) == verdict
    longer = generation.model_copy(update={"segment_frames": 16})
    assert gate_verdict(store, preset.model_copy(update={"generation": longer}), name) is None
    store.write_json(f"checkpoints/{name}/final/training.json", {"fingerprint": "b"})
    assert gate_verdict(store, preset, name) is None
    assert "has not been examined as it is" in checks.audio_swap(store, preset, name).message


def test_videos_last_as_long_as_their_sound(store, preset):
    np = pytest.importorskip("numpy")
    from paha_core.media.encode import write_video

    assert not checks.generated_durations(store, preset).passed
    frames = np.zeros((20, 32, 32, 3), np.uint8)
    with store.writing("generated/a.unguided.mp4") as path:
        write_video(path, frames, wave=np.zeros(20 * 640, np.float32))
    row = {"path": "generated/a.unguided.mp4", "frames": 20}
    write(store, "generated_clips", "unguided", [row])
    assert checks.generated_durations(store, preset).passed
    write(store, "generated_clips", "unguided", [row | {"frames": 25}])
    assert not checks.generated_durations(store, preset).passed
    with store.writing("generated/a.unguided.mp4") as path:
        write_video(path, frames)
    assert not checks.generated_durations(store, preset).passed
