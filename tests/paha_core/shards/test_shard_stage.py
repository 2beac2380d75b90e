"""The stage from clips to shards: exact content, and only what changed is made again."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch

from paha_core.config import AudioConfig, ReferenceConfig, ShardConfig
from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import read_manifest, stage_schema
from paha_core.errors import UserError
from paha_core.media.audio import read_audio, write_wav
from paha_core.media.encode import write_video
from paha_core.media.ffmpeg import MediaError
from paha_core.media.video import read_frames
from paha_core.models.audio_encoder import LogMel, open_audio_encoders
from paha_core.models.reference_encoder import PooledPixels, open_reference_encoder
from paha_core.pose.face import FaceBoxes
from paha_core.shards.reader import ShardReader
from paha_core.shards.stage import training_shards_stage
from paha_core.store import sha256_file

SIZE, GRID = 32, 4
TRAIN = [f"train-{n:04d}" for n in range(4)]


class AreaMean:
    """A codec of three channels: the mean colour of 8 x 8 pixels."""

    name, factor, channels = "area-mean", 8, 3

    def __init__(self, version="1"):
        self.sha256 = version
        self.encoded = 0

    def encode(self, frames):
        self.encoded += len(frames)
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        return torch.nn.functional.avg_pool2d(pixels, 8)


class Corpus:
    """A store with the manifests that the earlier stages leave."""

    def __init__(self, store):
        self.store = store
        self.rows = {"clips": {}, "keypoints": {}, "par_masks": {}, "face_boxes": {}}

    def add(self, name, frames=10, split="train", par_frames=None, seconds=None):
        store, clip_id = self.store, f"pats/oliver/{name}"
        rng = np.random.default_rng(sum(map(ord, name)) + frames)
        base = {"clip_id": clip_id, "dataset": "pats", "speaker": "oliver", "split": split}
        base |= {"status": "kept", "reason": ""}
        pictures = np.repeat(rng.integers(0, 255, (frames, 1, 1, 3), np.uint8), 64, 1).repeat(64, 2)
        wave = rng.normal(0, 0.1, int((seconds or frames / 25) * 22050)).astype(np.float32)
        with store.writing(f"clips/{name}.mp4") as path:
            write_video(path, pictures)
            video = sha256_file(path)
        with store.writing(f"clips/{name}.wav") as path:
            write_wav(path, wave, 22050)
        with store.writing(f"par/{name}.npz") as path, path.open("wb") as file:
            weights = rng.uniform(1, 9, (par_frames or frames, GRID, GRID)).astype(np.float16)
            np.savez(file, weights=weights, regions=np.ones_like(weights, np.uint8))
        boxes = np.tile(np.array([[16, 8, 48, 40]], np.float32), (frames, 1))
        with store.writing(f"faces/{name}.parquet") as path:
            FaceBoxes(boxes, np.arange(frames) > 0, (64, 64), "drawn").save(path)
        more = {"frames": frames, "fps": 25.0, "audio_path": f"clips/{name}.wav"}
        content = f"{name} {frames} {par_frames}"
        self.rows["clips"][clip_id] = (
            base | more | {"path": f"clips/{name}.mp4", "sha256": video, "fingerprint": content}
        )
        for stage, path in (
            ("par_masks", f"par/{name}.npz"),
            ("face_boxes", f"faces/{name}.parquet"),
        ):
            self.rows[stage][clip_id] = base | {"path": path, "sha256": content, "fingerprint": ""}
        return self

    def publish(self):
        extra = {"frames": pa.int32(), "fps": pa.float64(), "audio_path": pa.string()}
        for stage, rows in self.rows.items():
            schema = stage_schema(pa.schema(extra if stage == "clips" else {}))
            table = pa.Table.from_pylist([rows[k] for k in sorted(rows)], schema=schema)
            self.store.write_table(manifest_path(stage, "pats"), table)

    def run(self, codec=None, workers=1, **limits):
        self.publish()
        return training_shards_stage(
            self.store,
            ShardConfig(**{"clips_per_shard": 3, "reference_frames": 4} | limits),
            SIZE,
            codec or AreaMean(),
            open_audio_encoders(AudioConfig(encoder="log_mel"), ["pats"]),
            open_reference_encoder(ReferenceConfig(encoder="pooled_pixels")),
            workers,
        )["pats"]

    def shards(self):
        return {s: self.store.read_bytes(s) for s in self.store.glob("shards/pats/*")}


@pytest.fixture
def corpus(store):
    corpus = Corpus(store)
    for name in "abcd":
        corpus.add(name)
    return corpus.add("z", split="test")


def test_how_many_threads_decode_changes_no_byte(corpus):
    corpus.run(workers=4)
    expected = corpus.shards()
    for shard in expected:
        corpus.store.remove(shard)
    corpus.run(workers=1)
    assert corpus.shards() == expected


def test_an_unreadable_clip_fails_the_stage_in_any_process(corpus):
    corpus.store.remove("clips/c.wav")
    with pytest.raises(MediaError, match=r"no file c\.wav"):
        corpus.run(workers=3)


def test_a_clip_is_encoded_exactly(corpus):
    result = corpus.run()
    assert (result.kept, result.rejected, result.computed, result.reused) == (5, 0, 5, 0)
    store = corpus.store
    sample = ShardReader(store, ["pats"]).read(1)
    assert sample.meta["clip_id"] == "pats/oliver/b"
    frames = read_frames(store.full("clips/b.mp4"), size=SIZE)
    wave = read_audio(store.full("clips/b.wav"), 16000)
    expected = AreaMean().encode(frames).numpy().astype(np.float16)
    np.testing.assert_array_equal(sample.latents, expected)
    np.testing.assert_array_equal(sample.audio, LogMel().encode(wave, 10))
    assert sample.reference_index.tolist() == [0, 3, 6, 9]
    np.testing.assert_array_equal(sample.reference, PooledPixels().encode(frames[[0, 3, 6, 9]]))
    np.testing.assert_array_equal(sample.faces[3], [0.25, 0.125, 0.75, 0.625])
    assert sample.face_found.tolist() == [False] + [True] * 9
    np.testing.assert_allclose(sample.wave / 32767, wave[: 10 * 640], atol=1 / 32767)
    with np.load(store.full("par/b.npz")) as masks:
        np.testing.assert_array_equal(sample.par, masks["weights"])
    row = read_manifest(store, "training_shards", "pats")[1]
    assert row["path"] == row["shard"]
    assert (row["codec"], row["audio_encoder"]) == ("area-mean", "log-mel")
    assert row["audio_encoder_sha256"] == LogMel().sha256
    assert len(ShardReader(store, ["pats"], split="test")) == 1


def test_nothing_is_done_twice(corpus):
    corpus.run()
    before, written = (
        corpus.shards(),
        corpus.store.read_bytes("manifests/training_shards/pats.parquet"),
    )
    codec = AreaMean()
    result = corpus.run(codec)
    assert (result.computed, result.reused, codec.encoded) == (0, 5, 0)
    assert corpus.shards() == before
    assert corpus.store.read_bytes("manifests/training_shards/pats.parquet") == written


def test_two_runs_from_nothing_give_the_same_bytes(corpus):
    corpus.run()
    before = corpus.shards()
    corpus.store.remove("manifests/training_shards/pats.parquet")
    corpus.store.remove("shards")
    corpus.run()
    assert corpus.shards() == before


def test_new_clips_go_to_new_shards(corpus):
    corpus.run()
    before, codec = corpus.shards(), AreaMean()
    result = corpus.add("aa").add("e").run(codec)
    assert (result.computed, codec.encoded) == (2, 20)
    after = corpus.shards()
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert [r["clip_id"][-2:] for r in result.table.to_pylist()] == [
        "/a",
        "aa",
        "/b",
        "/c",
        "/d",
        "/e",
        "/z",
    ]


def test_shards_keep_to_their_bytes_and_numbers(corpus):
    size = corpus.run().table.column("bytes")[0].as_py()
    corpus.store.remove("manifests/training_shards/pats.parquet")
    corpus.run(shard_bytes=size + 1)
    assert [s.split("/")[-1][:-13] for s in corpus.shards()] == ["test-0000", *TRAIN[:2]]
    before = corpus.shards()
    corpus.add("e").add("f").add("g").run(shard_bytes=size + 1)
    after = corpus.shards()
    assert before.items() <= after.items()
    assert [s.split("/")[-1][:-13] for s in after] == ["test-0000", *TRAIN]
    codec = AreaMean()  # a shard that changes stays one shard
    corpus.add("b", frames=12).run(codec, shard_bytes=size + 1)
    assert codec.encoded == 12
    assert [s.split("/")[-1][:-13] for s in corpus.shards()] == ["test-0000", *TRAIN]


def test_a_changed_clip_rebuilds_only_its_shard(corpus):
    corpus.run()
    before, codec = corpus.shards(), AreaMean()
    corpus.add("b", frames=12).run(codec)
    after = corpus.shards()
    assert codec.encoded == 12
    assert len(before.keys() & after.keys()) == 2
    assert len(after) == 3
    reader = ShardReader(corpus.store, ["pats"])
    assert [row["key"][-1] for row in reader.rows] == list("abcd")
    assert [reader.read(i).frames for i in range(4)] == [10, 12, 10, 10]


def test_a_vanished_clip_leaves_its_shard_and_a_moved_one_too(corpus):
    corpus.run()
    for rows in corpus.rows.values():
        rows.pop("pats/oliver/a", None)
    codec = AreaMean()
    corpus.add("b", split="test").run(codec)
    assert codec.encoded == 10  # b's row tells another split, so it is made again
    assert [r["key"][-1] for r in ShardReader(corpus.store, ["pats"]).rows] == ["c", "d"]
    test = ShardReader(corpus.store, ["pats"], split="test")
    assert [test.read(i).key[-1] for i in range(2)] == ["b", "z"]


def test_another_encoder_makes_everything_again(corpus):
    corpus.run()
    result = corpus.run(AreaMean(version="2"))
    assert (result.computed, result.reused) == (5, 0)
    assert ShardReader(corpus.store, ["pats"]).read(0).meta["codec_sha256"] == "2"


@pytest.mark.parametrize("harm", ["missing", "broken"])
def test_a_lost_shard_is_made_again_as_it_was(corpus, harm):
    corpus.run()
    before = corpus.shards()
    shard = next(s for s in before if "train-0000" in s)
    corpus.store.remove(shard)
    codec = AreaMean()
    if harm == "broken":  # noticed when a clip of it changes and the others are copied
        corpus.store.write_bytes(shard, before[shard][:700])
        corpus.run()
        corpus.add("c").rows["par_masks"]["pats/oliver/c"]["sha256"] = "other"
    assert corpus.run(codec).computed == 3
    assert codec.encoded == 30
    if harm == "missing":
        assert corpus.shards() == before
    reader = ShardReader(corpus.store, ["pats"])
    assert [reader.read(i).key[-1] for i in range(4)] == list("abcd")


def test_what_does_not_fit_is_rejected_with_a_reason(corpus):
    corpus.add("m", par_frames=9).add("n", seconds=0.6).add("o").add("p")
    refused = {"status": "rejected", "reason": "no person in 80 % of frames"}
    corpus.rows["par_masks"]["pats/oliver/o"] |= refused
    del corpus.rows["face_boxes"]["pats/oliver/p"]
    lost = corpus.add("q").rows["par_masks"].pop("pats/oliver/q")
    corpus.rows["keypoints"]["pats/oliver/q"] = lost | refused
    result = corpus.run()
    assert (result.kept, result.rejected) == (5, 5)
    reasons = {r["clip_id"][-1]: r["reason"] for r in result.table.to_pylist() if r["reason"]}
    assert reasons["m"] == "10 frames in the video, but 9 in its PAR mask"
    assert reasons["n"].startswith("audio of 0.600 s does not match 10 frames")
    assert reasons["o"] == "par_masks: no person in 80 % of frames"
    assert reasons["q"] == "keypoints: no person in 80 % of frames"
    assert reasons["p"] == "no face_boxes for it yet"
    assert corpus.run().computed == 0
    corpus.add("p").add("m")
    assert (corpus.run().computed, corpus.run().kept) == (2, 7)


def test_a_kill_costs_one_shard_and_mixes_nothing(corpus):
    @dataclasses.dataclass
    class Dying(AreaMean):
        left: int

        def __post_init__(self):
            super().__init__()

        def encode(self, frames):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().encode(frames)

    with pytest.raises(KeyboardInterrupt):
        corpus.run(Dying(left=4))  # in the order of splits: z, then a b c, then d
    rows = read_manifest(corpus.store, "training_shards", "pats")
    assert [row["clip_id"][-1] for row in rows] == list("abcz")
    codec = AreaMean()
    result = corpus.run(codec)
    assert result.kept == 5
    assert codec.encoded == 10
    assert len(corpus.shards()) == 3
    assert corpus.store.glob("shards/pats/.writing*") == []


def test_masks_of_another_grid_stop_the_stage(corpus):
    class Coarse(AreaMean):
        def encode(self, frames):
            return torch.nn.functional.avg_pool2d(super().encode(frames), 2)

    with pytest.raises(UserError, match="run par_masks again"):
        corpus.run(Coarse())
