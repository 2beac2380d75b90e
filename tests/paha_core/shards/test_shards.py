"""Shards: the same bytes for the same samples, clips back as they were, bad shards named."""

import dataclasses
import logging
import uuid

import numpy as np
import pytest
import webdataset

from paha_core.errors import UserError
from paha_core.shards.reader import ShardError, ShardReader
from paha_core.shards.sample import ARRAYS, SampleError, from_tar, to_tar
from paha_core.shards.verify import verify_shards
from paha_core.shards.writer import Checksum, checksum, encoders_of, write_shards
from paha_core.store import Store, sha256_file
from shard_samples import make_sample, publish


def assert_same(a, b):
    assert (a.key, a.meta) == (b.key, b.meta)
    for name in [*(name for name, *_ in ARRAYS), "wave"]:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype


def test_same_samples_give_the_same_bytes_and_names(tmp_path):
    stores = [Store(str(tmp_path / name)) for name in "ab"]
    first, second = (publish(s, [make_sample(n) for n in range(6)]) for s in stores)
    assert first == second
    for row in first:
        assert sha256_file(stores[0].full(row["shard"])) == row["sha256"]
        assert row["sha256"].startswith(row["shard"][-12:-4])
        assert stores[0].read_bytes(row["shard"]) == stores[1].read_bytes(row["shard"])
    assert [row["shard"].split("-")[1] for row in first] == ["0000"] * 4 + ["0001"] * 2
    assert stores[0].glob("shards/pats/*") == sorted({row["shard"] for row in first})


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_clips_come_back_as_they_were(tmp_path, kind):
    store = Store(str(tmp_path) if kind == "local" else f"memory://{uuid.uuid4().hex}")
    samples = [make_sample(n, frames=5 + n) for n in range(7)]
    publish(store, samples)
    reader = ShardReader(store, ["pats"])
    assert len(reader) == 7
    assert reader.frames == [5 + n for n in range(7)]
    for i in (6, 0, 3, 3, 5):
        assert_same(reader.read(i), samples[i])


def test_webdataset_itself_reads_our_shards(store):
    rows = publish(store, [make_sample(n) for n in range(3)])
    path = store.full(rows[0]["shard"])
    found = list(webdataset.WebDataset(path, shardshuffle=False).decode())
    assert [s["__key__"] for s in found] == [row["key"] for row in rows]
    np.testing.assert_array_equal(found[1]["latents.npy"], make_sample(1).latents)
    assert found[2]["json"]["clip_id"] == "pats/oliver/002"


def test_a_shard_is_full_with_its_clips_or_its_bytes(store):
    samples = [make_sample(n, frames=10) for n in range(7)]
    size = len(to_tar(samples[0]))
    for most, bytes_, expected in (
        (4, None, [4, 3]),
        (4, 3 * size, [3, 3, 1]),
        (4, 3 * size - 1, [3, 3, 1]),  # the clip that goes past it is still in
        (4, 2 * size + 1, [3, 3, 1]),
        (2, 9 * size, [2, 2, 2, 1]),
        (4, 1, [1] * 7),
    ):
        prefix = f"shards/{most}-{bytes_}"
        rows = write_shards(store, prefix, samples, clips_per_shard=most, shard_bytes=bytes_)
        assert [row["key"] for row in rows] == [sample.key for sample in samples]
        shards = [row["shard"] for row in rows]
        assert [shards.count(s) for s in dict.fromkeys(shards)] == expected


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_verification_names_shards_and_clips(tmp_path, kind):
    store = Store(str(tmp_path) if kind == "local" else f"memory://{uuid.uuid4().hex}")
    rows = publish(store, [make_sample(n) for n in range(12)])
    whole = verify_shards(store, ["pats"])
    assert whole.problems == {}
    assert (whole.shards, whole.clips) == (3, 12)
    first, second, third = dict.fromkeys(row["shard"] for row in rows)
    assert whole.bytes == sum(len(store.read_bytes(s)) for s in (first, second, third))
    store.remove(first)
    data = bytearray(store.read_bytes(second))
    data[rows[5]["offset"] + 3000] ^= 1
    store.write_bytes(second, bytes(data))
    data = bytearray(store.read_bytes(third))
    data[-1] ^= 1  # in the empty blocks at the end: no clip's
    store.write_bytes(third, bytes(data))
    found = verify_shards(store, ["pats"])
    assert found.problems == {
        first: "missing, with 4 clips",
        second: "not the bytes that were written: 1 of 4 clips are harmed (pats/oliver/005)",
        third: "not the bytes that were written, though every clip in it is intact",
    }


def test_a_failed_write_publishes_nothing(tmp_path):
    """Neither local nor on an object store is there ever half a shard."""

    def broken():
        yield make_sample(0)
        raise RuntimeError("power cut")

    for url in (str(tmp_path), f"memory://{uuid.uuid4().hex}"):
        store = Store(url)
        with pytest.raises(RuntimeError, match="power cut"):
            write_shards(store, "shards/pats/train", broken(), clips_per_shard=4)
        assert store.fs.find(store.full("shards")) == []


def test_long_and_foreign_keys_survive():
    sample = dataclasses.replace(make_sample(1), key="pats__主播__" + "x" * 120)
    assert_same(from_tar(to_tar(sample)), sample)


def test_parts_that_do_not_belong_together_are_refused():
    sample = make_sample(1)
    with pytest.raises(SampleError, match="par has 11 along T where 12 is right"):
        dataclasses.replace(sample, par=sample.par[:-1])
    with pytest.raises(SampleError, match="fps, sample rate and frames"):
        dataclasses.replace(sample, meta=sample.meta | {"sample_rate": 22050})
    with pytest.raises(SampleError, match="wave is int16"):
        dataclasses.replace(sample, wave=sample.wave[:-1])
    with pytest.raises(SampleError, match="latents is float32"):
        dataclasses.replace(sample, latents=sample.latents.astype(np.float32))
    with pytest.raises(SampleError, match="no dot"):
        dataclasses.replace(sample, key="a.b")


def test_entries_with_python_objects_are_refused():
    bad = np.lib.format.header_data_from_array_1_0(np.zeros(3)) | {"descr": "|O"}
    assert bad["descr"] == "|O"
    data = bytearray(to_tar(make_sample(1)))
    place = data.index(b"'descr': '<f2'")
    data[place : place + 14] = b"'descr': '|O' "
    with pytest.raises(SampleError, match="Python objects"):
        from_tar(bytes(data))


def test_two_clips_of_one_key_are_refused(store):
    with pytest.raises(ValueError, match="two samples of the key"):
        write_shards(store, "shards/x", [make_sample(1), make_sample(1)], clips_per_shard=4)
    assert store.glob("shards/*") == []


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped"])
def test_a_bad_shard_is_named(store, harm):
    rows = publish(store, [make_sample(n) for n in range(8)])
    shard = rows[4]["shard"]
    data = bytearray(store.read_bytes(shard))
    if harm == "missing":
        store.remove(shard)
    else:
        data[rows[4]["offset"] + rows[4]["bytes"] // 2] ^= 1
        store.write_bytes(shard, bytes(data[: rows[5]["offset"] - 9] if harm == "cut" else data))
    reader = ShardReader(store, ["pats"])
    reader.read(3)
    with pytest.raises(ShardError, match=shard) as caught:
        reader.read(4)
    assert caught.value.shard == shard
    assert "pats/oliver/004" in str(caught.value)


def test_a_skipped_shard_is_counted_and_logged_once(store, caplog):
    rows = publish(store, [make_sample(n) for n in range(8)])
    store.remove(rows[0]["shard"])
    reader = ShardReader(store, ["pats"], on_bad_shard="skip")
    with caplog.at_level(logging.WARNING, "paha"):
        assert [reader.read_or_skip(i) is None for i in range(8)] == [True] * 4 + [False] * 4
    assert reader.bad_shards == {rows[0]["shard"]: 4}
    assert len(caplog.records) == 1


def test_the_cache_keeps_to_its_bytes(store):
    publish(store, [make_sample(n) for n in range(8)])
    size = make_sample(0).nbytes
    reader = ShardReader(store, ["pats"], cache_bytes=3 * size)
    for i in (0, 1, 2, 0, 3):
        reader.read(i)
    assert list(reader._cache) == [2, 0, 3]
    assert reader._cached_bytes == 3 * size
    assert reader.read(0) is reader.read(0)


def test_no_clips_and_mixed_encoders_are_refused(store):
    for other in ({"codec": "other"}, {"codec_sha256": "1"}, {"audio_encoder_sha256": "1"}):
        publish(store, [make_sample(0), make_sample(1, **other)])
        with pytest.raises(UserError, match="mixes encoders"):
            ShardReader(store, ["pats"])
    with pytest.raises(UserError, match="no clips of split test"):
        ShardReader(store, ["pats"], split="test")


def test_each_dataset_may_have_its_own_audio_encoder(store):
    for dataset, sha256 in (("pats", "english"), ("cnas", "mandarin")):
        sample = make_sample(0, dataset=dataset, audio_encoder_sha256=sha256)
        publish(store, [sample], dataset=dataset)
    reader = ShardReader(store, ["pats", "cnas"])
    assert encoders_of(reader.rows)["audio_encoder_sha256"] == "english, mandarin"
    odd = make_sample(0, dataset="cnas", reference_encoder_sha256="other")
    publish(store, [odd], dataset="cnas")
    with pytest.raises(UserError, match="mixes encoders"):
        ShardReader(store, ["pats", "cnas"])


def test_the_checksum_sees_flips_zeros_and_exchanged_blocks():
    data = np.random.default_rng(0).bytes(5 * 65536 + 1024)
    harmed = [bytearray(data) for _ in range(4)]
    harmed[0][300_001] ^= 4
    harmed[1][65536 : 65536 + 4096] = bytes(4096)
    harmed[2][:131072] = data[65536:131072] + data[:65536]
    del harmed[3][-512:]
    sums = {checksum(bytes(h)) for h in harmed} | {checksum(data)}
    assert len(sums) == 5


def test_the_checksum_does_not_depend_on_pieces():
    for size in (512, 65536, 3 * 65536, 20 * 65536 + 1536):
        data = np.random.default_rng(size).bytes(size)
        total = Checksum()
        for start in range(0, size, 4 * 65536):
            total.update(data[start : start + 4 * 65536])
        assert total.hexdigest() == checksum(data)
