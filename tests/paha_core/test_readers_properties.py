"""Strangers' bytes: a reader gives what it promises, or its own error; never another one."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from paha_core.corpora.intervals import parse_seconds, read_intervals, read_split
from paha_core.engine.manifest_stage import Rejection
from paha_core.errors import UserError
from paha_core.media.ffmpeg import MediaError
from paha_core.media.picture import read_picture
from paha_core.tables import DELIMITERS, TableError, read_rows

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)

# What a spreadsheet can hold: no control characters, no half surrogates.
cells = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)


@few
@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_a_sentence(data):
    try:
        rows = read_rows(data, "t.csv")
    except TableError:
        return
    assert rows
    assert all(isinstance(row.line, int) for row in rows)


@few
@given(
    st.lists(
        st.tuples(cells, cells, cells).filter(lambda row: any(map(str.strip, row))), min_size=1
    ),
    st.sampled_from(DELIMITERS),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_saved_table_is_read_as_it_was(table, delimiter, encoding):
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerows([("speaker", "start", "end"), *table])
    rows = read_rows(sink.getvalue().encode(encoding), "t.csv", ("speaker",))
    assert [tuple(row.cells.values()) for row in rows] == [
        tuple(cell.strip() for cell in row) for row in table
    ]
    assert not any(row.problem for row in rows)


@few
@example("9" * 400)
@given(st.text(max_size=20) | st.from_regex(r"[\d:., -]{1,16}", fullmatch=True))
def test_a_time_is_a_number_of_seconds_or_rejected(text):
    try:
        seconds = parse_seconds(text)
    except Rejection:
        return
    assert np.isfinite(seconds)
    assert seconds >= 0


@few
@given(st.binary(max_size=200))
def test_any_csv_of_intervals(data):
    header = b"speaker,video_fn,interval_id,start_time,end_time\n"
    path = _kept(header + data)
    try:
        intervals = read_intervals(path, need_dataset=False)
    except UserError:
        return
    assert all(i.problem or i.end >= 0 for i in intervals)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@few
@example('{"train": null, "test": null}')
@given(
    st.dictionaries(st.sampled_from(["train", "test", "dev"]), values).map(json.dumps) | st.text()
)
def test_any_json_as_a_split(text):
    try:
        found = read_split(_kept(text.encode("utf-8", "replace")))
    except UserError:
        return
    assert set(found.values()) <= {"train", "test"}


def encoded(form: str) -> bytes:
    sink = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(sink, form)
    return sink.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_damaged_picture_is_a_picture_or_a_sentence(form):
    good = encoded(form)

    @few
    @given(st.integers(0, len(good) - 1), st.binary(min_size=1, max_size=8), st.booleans())
    def damage(at, patch, cut):
        data = good[:at] + patch + (b"" if cut else good[at + len(patch) :])
        try:
            pixels = read_picture(data)
        except MediaError:
            return
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3

    damage()


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory):
    global _kept
    folder = tmp_path_factory.mktemp("bytes")

    def keep(data: bytes):
        path = folder / "t.csv"
        path.write_bytes(data)
        return path

    _kept = keep
