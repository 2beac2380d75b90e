"""PATS's csv in its forms, pieces that belong together, and the splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paha_core.config import PatsConfig
from paha_core.corpora.intervals import (
    PatsInterval,
    SplitError,
    interval_number,
    join_pieces,
    parse_seconds,
    read_intervals,
    shared_videos,
    split_intervals,
)
from paha_core.engine.manifest_stage import Rejection
from paha_core.tables import TableError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_form_of_pats(tmp_path):
    """As distributed: quoted names with commas, `#` and quotes, dates before the times, a link."""
    path = write(
        tmp_path / "cmu_intervals_df.csv",
        "dataset,delta_time,end_time,interval_id,speaker,start_time,video_fn,video_link\n"
        "train,7.0,1900-01-01 00:01:23,cmu0000067583,oliver,1900-01-01 00:01:16,"
        '"It\'s, a ""talk"" # 3-qsNst-6SB0c.mp4",https://www.youtube.com/watch?v=qsNst-6SB0c\n'
        "dev,7.0,0:01:23.5,67584,jon,0:01:16,,http://media.example/embed/mgid:arc:video:x.com:94bd\n",
    )
    first, second = read_intervals(path)
    assert (first.video, first.id) == ('It\'s, a "talk" # 3-qsNst-6SB0c.mp4', "cmu0000067583")
    assert (first.start, first.end, first.dataset) == (76, 83, "train")
    assert (second.video, second.end, second.problem) == ("94bd", 83.5, "")


def test_index_columns_and_the_byte_order_mark_are_no_matter(tmp_path):
    path = write(
        tmp_path / "i.csv",
        "\ufeff,Unnamed: 0.1, speaker ,video_fn,interval_id,dataset,start_time,end_time,x\n"
        "5,7,seth,a b.webm,96210,train,0:06:56,0:07:06,210\n"
        "6,8,seth,a b.webm,96211,train,0:07:06\n",
    )
    whole, short = read_intervals(path)
    assert whole == PatsInterval("seth", "a b.webm", "96210", 416, 426, "train")
    assert "can't be read: ''" in short.problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speaker,video_fn,start,end_time,dataset\n", "no column interval_id, start_time;"),
        ("speaker,interval_id,start_time,end_time\n", "no column dataset"),
        ("", "i.csv is empty"),
        (
            "speaker,interval_id,start_time,end_time,dataset\nada,1,0,5,train\n",
            "no column video_fn or video_link",
        ),
        (
            "speaker,interval_id,start_time,end_time,video_fn,dataset\n" + "x" * 200_000,
            "larger than field limit",
        ),
    ],
)
def test_a_csv_that_can_not_be_used(tmp_path, text, words):
    with pytest.raises(TableError, match=words):
        read_intervals(write(tmp_path / "i.csv", text))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_from_a_spreadsheet(tmp_path, encoding, delimiter):
    lines = (
        "speaker,video_fn,interval_id,start_time,end_time,,",
        "李梅,播音 1.mp4,1,0,5,,",
        ",,,,,,",
    )
    text = "\r\n".join(lines).replace(",", delimiter)
    (tmp_path / "i.csv").write_bytes(text.encode(encoding))
    (only,) = read_intervals(tmp_path / "i.csv", need_dataset=False)
    assert only == PatsInterval("李梅", "播音 1.mp4", "1", 0, 5, "")


def test_a_row_with_shifted_cells_is_rejected_alone(tmp_path):
    text = (
        "speaker,interval_id,start_time,end_time,video_fn\nada,1,1,5,7,a.mp4\nada,2,1.5,7,a.mp4\n"
    )
    shifted, good = read_intervals(write(tmp_path / "i.csv", text), need_dataset=False)
    assert shifted.problem == "line 2 has 6 cells, the header 5"
    assert not good.problem


def test_a_path_with_colons_is_a_path(tmp_path):
    text = "speaker,interval_id,start_time,end_time,video_fn\nada,1,1,5,a.mp4\n"
    assert len(read_intervals(write(tmp_path / "a::b.csv", text), need_dataset=False)) == 1


def test_ids():
    forms = ("67583", "67583.0", "cmu0000067583", "067583")
    assert {interval_number(form) for form in forms} == {"67583"}
    assert interval_number("abc") == "abc"


def test_pieces_of_one_id_are_one_interval():
    def piece(
        id: str, start: float, end: float, video: str = "v", problem: str = ""
    ) -> PatsInterval:
        return PatsInterval("seth", video, id, start, end, "train", problem)

    joined = join_pieces(
        [
            piece("1", 10, 20),
            piece("2", 0, 5),
            piece("1", 30, 31.5),
            piece("cmu0001", 20, 30),
            piece("1", 40, 50),  # a gap
            piece("1", 20, 30, video="other"),
            piece("2", 0, 5),  # twice
            piece("2", 5, 9, problem="bad"),
        ]
    )
    assert [(i.id, i.start, i.end, i.pieces) for i in joined] == [
        ("1", 10, 31.5, 3),
        ("2", 0, 5, 1),
        ("1", 40, 50, 1),
        ("1", 20, 30, 1),
        ("2", 0, 5, 1),
        ("2", 5, 9, 1),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:06:56", 416),
        ("00:06:56.25", 416.25),
        ("06:56", 416),
        ("1:00:00", 3600),
        ("2017-08-07 0:06:56.5", 416.5),
        ("8/7/2017 0:06:56", 416),
        ("0 days 00:06:56.500000", 416.5),
        ("416.5", 416.5),
        ("76", 76),
        ("0:00:01,500", 1.5),
    ],
)
def test_times(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "nan", "-1 days 0:06:56", "1:2:3:4", "-3", "x 0:06:56"])
def test_times_that_are_none(text):
    with pytest.raises(Rejection, match="can't be read"):
        parse_seconds(text)


def interval(id: str, video: str, dataset: str = "train") -> PatsInterval:
    return PatsInterval("oliver", video, id, 0.0, 5.0, dataset)


def test_splits(tmp_path):
    plain = [interval("1", "a", "train"), interval("2", "a", "dev"), interval("3", "b", "test")]
    assert split_intervals(plain, PatsConfig()) == ["train", "train", "test"]
    (tmp_path / "s.json").write_text(json.dumps({"train": [1], "test": [67583]}))
    named = [interval("1", "a"), interval("cmu0000067583", "a"), interval("9", "b")]
    settings = PatsConfig(split_file=str(tmp_path / "s.json"))
    assert split_intervals(named, settings) == ["train", "test", ""]
    for text, words in (("[]", "not a split file"), ("{", "not json")):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(SplitError, match=words):
            split_intervals(named, settings)


def test_split_by_video_leaves_no_video_on_both_sides():
    intervals = [
        interval(f"{v}{n}", f"video{v}", "test" if n == 0 else "train")
        for v in range(10)
        for n in range(5)
    ]
    splits = split_intervals(intervals, PatsConfig(split="by_video"))
    sides = {}
    for i, split in zip(intervals, splits, strict=True):
        sides.setdefault(i.video, set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert splits.count("test") == 10  # as many as the paper's form had
    paper = split_intervals(intervals, PatsConfig())
    assert len(shared_videos(intervals, paper)) == 10
    assert shared_videos(intervals, splits) == set()
