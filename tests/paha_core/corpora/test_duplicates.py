"""Near duplicates: another encoding of a moment is found, another moment of a person is not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from paha_core.corpora.card import card
from paha_core.corpora.cnas import hold_out, ingest_cnas
from paha_core.corpora.duplicates import mark_duplicates, near_pairs, repeated_sources
from paha_core.media.ffmpeg import file_url, run


@pytest.fixture
def footage(studio, tmp_path):
    """A drawn source, and the same encoded again, smaller and quieter, under another name."""
    source = studio / "cnas/lin/lin_000.mp4"
    folder = tmp_path / "sources/lin"
    folder.mkdir(parents=True)
    (folder / "first.mp4").write_bytes(source.read_bytes())
    again = ["-vf", "scale=204:114", "-crf", "28", "-af", "volume=0.6", "-b:a", "48k"]
    run(["-i", file_url(source), *again, file_url(folder / "second.mp4")])
    return tmp_path / "sources"


def test_a_source_encoded_again_is_a_duplicate(store, config, footage):
    rows = ingest_cnas(store, config, "cnas", footage, workers=0).table.to_pylist()
    kept = [row for row in rows if row["status"] == "kept"]
    first = [row for row in kept if row["source_id"] == "first"]
    second = [row for row in kept if row["source_id"] == "second"]
    assert len(first) == len(second) >= 2
    assert [row["duplicate_of"] for row in first] == [""] * len(first)
    assert [row["duplicate_of"] for row in second] == [row["clip_id"] for row in first]
    assert {row["split"] for row in kept} == {"train"}  # neither may be held out from the other
    text = card(rows, config.cnas, "cnas")
    assert f"{len(second)} clips repeat another one" in text
    assert f"| {second[0]['clip_id']} | {first[0]['clip_id']} |" in text


def marked(rows: list[dict[str, str]], held_out: float = 0.0) -> list[dict[str, str]]:
    table = pa.Table.from_pylist(rows)
    return mark_duplicates(hold_out(table, held_out) if held_out else table).to_pylist()


def row(
    clip_id: str, content: str, source: str = "", split: str = "train", speaker: str = "lin"
) -> dict[str, str]:
    return {
        "clip_id": clip_id,
        "status": "kept",
        "content_hash": content,
        "speaker": speaker,
        "source_id": source or clip_id,
        "split": split,
    }


def test_pictures_and_sound_must_both_be_the_same():
    picture, sound = "0123456789abcdef" * 3, "5a" * 22
    other_sound = "a5" * 22
    near = "1" + picture[1:] + ":" + sound[:-1] + "b"
    rows = [
        row("a", f"{picture}:{sound}"),
        row("b", f"{picture}:{other_sound}"),  # the same studio, another sentence
        row("c", f"{'f' * 48}:{sound}"),  # a voice over other pictures
        row("d", near),
    ]
    assert [r["duplicate_of"] for r in marked(rows)] == ["", "", "", "a"]


def test_a_test_clip_says_what_of_it_is_in_train():
    one, two, three = (f"{digit * 48}:{sound * 44}" for digit, sound in ("05", "3a", "c9"))
    rows = [
        row("a", one, "talk"),
        row("b", two, "talk", "test"),  # another moment of a source in train
        row("c", one, "reupload", "test"),  # a training clip again
        row("d", three, "other", "test"),
        row("e", three, "other2", "test"),  # repeats a test clip alone
    ]
    assert [r["in_train"] for r in marked(rows)] == ["", "talk", "a", "", ""]


def test_sources_that_repeat_each_other_are_held_out_together():
    hashes = [f"{n * 48}:{n * 44}" for n in "0369cf"]
    sources = ["a", "a", "b", "c", "d", "d"]
    clips = [hashes[0], hashes[1], hashes[1], hashes[2], hashes[3], hashes[4]]
    rows = [row(f"{s}{n}", clip, s) for n, (s, clip) in enumerate(zip(sources, clips, strict=True))]
    firsts = {name: first for (_, name), (_, first) in repeated_sources(rows).items()}
    assert firsts == {"a": "a", "b": "a", "c": "c", "d": "d"}
    held = marked(rows, 0.4)
    assert {r["split"] for r in held} == {"train", "test"}
    assert len({r["split"] for r in held if r["source_id"] in "ab"}) == 1
    assert not any(r["in_train"] for r in held)


def test_sources_of_two_speakers_are_held_out_by_both_or_by_none():
    hashes = [f"{n * 48}:{n * 44}" for n in "0369cf"]
    alike = [
        row(f"{speaker}/{name}", hashes[n], name, speaker=speaker)
        for speaker in ("lin", "wei")
        for n, name in enumerate("ab")
    ]
    held = marked(alike, 0.5)
    assert [r["duplicate_of"] for r in held] == ["", "", "lin/a", "lin/b"]
    assert [r["split"] for r in held[:2]] == [r["split"] for r in held[2:]]
    assert {r["split"] for r in held} == {"train", "test"}
    assert not any(r["in_train"] for r in held)
    # of another speaker's two sources one is a repetition, too much to be held out by "lin"
    more = [row(f"ann/{n}", hashes[n], f"s{n}", speaker="ann") for n in (0, 2)]
    more += [row(f"ann/{n}", hashes[3], "s3", speaker="ann") for n in range(3, 9)]
    assert not any(r["in_train"] for r in marked(alike + more, 0.5))


def test_pairs_are_those_of_comparing_each_with_each():
    rng = np.random.default_rng(0)
    sounds = [bytes(22)] * 30 + [rng.bytes(22) for _ in range(30)]  # silence has one hash
    pictures = [(int.from_bytes(rng.bytes(24)) % 7 << 180).to_bytes(24) for _ in sounds]
    hashes = [f"{p.hex()}:{s.hex()}" for p, s in zip(pictures, sounds, strict=True)]
    hashes += [f"{hashes[40][:-1]}{int(hashes[40][-1], 16) ^ 1:x}"]  # another encoding of one

    def bits(a: str, b: str) -> int:
        return (int(a, 16) ^ int(b, 16)).bit_count()

    def near(a: str, b: str) -> bool:
        (seen_a, heard_a), (seen_b, heard_b) = a.split(":"), b.split(":")
        seen = max(bits(seen_a[n : n + 16], seen_b[n : n + 16]) for n in (0, 16, 32))
        return bits(heard_a, heard_b) <= 30 and seen <= 20

    each = [(a, b) for b in range(61) for a in range(b) if near(hashes[a], hashes[b])]
    assert near_pairs(hashes) == each
    assert (40, 60) in each
    assert len(each) > 100
