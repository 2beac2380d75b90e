"""Intervals from lists that others published, through a column map (`config/columns.py`)."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paha_core.config.columns import Boxes, Column, ColumnMap
from paha_core.corpora.intervals import PatsInterval, parse_seconds
from paha_core.corpora.names import normalized, require_plain_name
from paha_core.corpora.regions import Crop
from paha_core.corpora.source_files import is_remote, read_file, video_id
from paha_core.engine.manifest_stage import Rejection
from paha_core.errors import UserError
from paha_core.tables import TableError, decode_text, read_rows

FILE_NAME = "file_name"  # column of `json_files`: the file's own, without its ending


def read_listed(path: str | Path, columns: ColumnMap) -> list[PatsInterval]:
    """The rows of the list at `path` (file, folder or URL) as intervals, in order.

    A row that can't be read has a problem. Raises `TableError` for a file of another format,
    without a mapped column or without rows.
    """
    records = list(_RECORDS[columns.format](path, columns))
    if not records:
        raise TableError(f"{Path(path).name} has no rows")
    _require_columns(records, columns, Path(path).name)
    return [_interval(record, columns) for record in records]


def crop_of(interval: PatsInterval, kind: Boxes | None, width: int, height: int) -> Crop:
    """The square of a listed interval: around its box, or the picture's centre without one, from
    where it follows the face (`speaking.largest_face_crop`).

    As large as the box's longer side, or with a mere centre as the picture allows; moved so that
    it lies within the picture.
    """
    side, x, y = min(width, height), width / 2, height / 2
    numbers = interval.box
    if kind == "centre_shares" and numbers:
        x, y = numbers[0] * width, numbers[1] * height
    elif kind and numbers:
        scale = (width, height) if kind == "xyxy_shares" else (1, 1)
        left, top = numbers[0] * scale[0], numbers[1] * scale[1]
        if kind == "xywh_pixels":
            right, bottom = left + numbers[2], top + numbers[3]
        else:
            right, bottom = numbers[2] * scale[0], numbers[3] * scale[1]
        if right > width + 1 or bottom > height + 1:
            raise Rejection(f"its box ends at {right:g}, {bottom:g} of a {width}x{height} picture")
        side = min(side, max(2, round(max(right - left, bottom - top))))
        x, y = (left + right) / 2, (top + bottom) / 2
    return Crop(
        left=int(min(max(round(x - side / 2), 0), width - side)),
        top=int(min(max(round(y - side / 2), 0), height - side)),
        side=side,
    )


# --- rows ----------------------------------------------------------------------------------------


def _interval(record: Mapping[str, Any], maps: ColumnMap) -> PatsInterval:
    columns = maps.columns
    link = _text(record, columns.link)
    interval = PatsInterval(
        speaker=normalized(_text(record, columns.speaker)),
        video=_text(record, columns.video) or video_id(link),
        id=_text(record, columns.id),
        start=0.0,
        end=0.0,
        dataset=_text(record, columns.split).lower(),
        link=link,
    )
    try:
        require_plain_name(interval.speaker, "speaker")
        require_plain_name(interval.id, "interval id")
        require_plain_name(interval.video, "video's file name")
        start, end = _span(record, maps)
        return replace(interval, start=start, end=end, box=_box(record, maps))
    except Rejection as reason:
        return replace(interval, problem=str(reason))


def _span(record: Mapping[str, Any], maps: ColumnMap) -> tuple[float, float]:
    """Start and end in seconds; infinity where the file as a whole is the clip."""
    columns = maps.columns
    if columns.start is None:
        return 0.0, math.inf
    start = parse_seconds(_text(record, columns.start))
    if columns.end is not None:
        return start, parse_seconds(_text(record, columns.end))
    return start, start + parse_seconds(_text(record, columns.duration))


def _box(record: Mapping[str, Any], maps: ColumnMap) -> tuple[float, ...] | None:
    names = maps.columns.box
    if names is None:
        return None
    found = _cell(record, names) if isinstance(names, str) else [_cell(record, n) for n in names]
    found = json.loads(found) if isinstance(found, str) and found.startswith("[") else found
    try:
        numbers = tuple(float(number) for number in found)
    except (TypeError, ValueError):
        raise Rejection(f"a box that can't be read: {found!r}") from None
    if len(numbers) != (2 if maps.box == "centre_shares" else 4) or not all(
        math.isfinite(number) for number in numbers
    ):
        raise Rejection(f"a box that can't be read: {found!r}")
    return numbers


def _text(record: Mapping[str, Any], column: Column | None) -> str:
    """The column's text; empty where the row has none or the pattern doesn't fit."""
    if column is None:
        return ""
    found = (_cell(record, name) for name in column.column)
    value = next((v for v in found if v not in (None, "")), None)
    text = "" if value is None else str(value).strip()
    if column.match is not None:
        match = re.search(column.match, text)
        text = match[1] if match else ""
    return column.write.replace("{}", text) if column.write and text else text


def _cell(record: Mapping[str, Any], name: str) -> Any:
    """`a` of the record, or for `a.b` the b within a."""
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _require_columns(records: Sequence[Mapping[str, Any]], maps: ColumnMap, name: str) -> None:
    """Raises `TableError` naming what no row has: another list, or another version of it."""
    box = maps.columns.box or ()
    wanted: list[tuple[str, ...]] = [(n,) for n in ([box] if isinstance(box, str) else box)]
    mapped = (getattr(maps.columns, field) for field in type(maps.columns).model_fields)
    wanted += [column.column for column in mapped if isinstance(column, Column)]
    absent = [
        " or ".join(names)
        for names in wanted
        if all(_cell(record, n) is None for record in records for n in names)
    ]
    if absent:
        found = ", ".join(map(repr, list(records[0])[:8]))
        raise TableError(f"{name} has no column {', '.join(absent)}; its first row has {found}")


# --- formats -------------------------------------------------------------------------------------


def _csv(path: str | Path, maps: ColumnMap) -> Iterator[Mapping[str, Any]]:
    data = read_file(path)
    if maps.header:
        data = (",".join(maps.header) + "\n").encode() + data
    for row in read_rows(data, Path(path).name):
        yield row.cells


def _json(path: str | Path, maps: ColumnMap) -> Iterator[Mapping[str, Any]]:
    records = _parsed(decode_text(read_file(path), Path(path).name), Path(path).name)
    if not isinstance(records, list):
        raise TableError(f"{Path(path).name} is no json list of intervals")
    yield from (record for record in records if isinstance(record, dict))


def _jsonl(path: str | Path, maps: ColumnMap) -> Iterator[Mapping[str, Any]]:
    for line in decode_text(read_file(path), Path(path).name).splitlines():
        if line.strip():
            yield _parsed(line, Path(path).name)


def _json_files(path: str | Path, maps: ColumnMap) -> Iterator[Mapping[str, Any]]:
    for file in _files(path, "*.json"):
        record = _parsed(file.read_text(encoding="utf-8", errors="replace"), file.name)
        yield {FILE_NAME: file.stem} | (record if isinstance(record, dict) else {})


def _parquet(path: str | Path, maps: ColumnMap) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from pq.read_table(io.BytesIO(read_file(path))).to_pylist()
    except pa.ArrowInvalid as error:
        raise TableError(f"{Path(path).name} is no Parquet file: {error}") from None


def _hdtf(path: str | Path, maps: ColumnMap) -> Iterator[Mapping[str, Any]]:
    """HDTF's release: `<part>_video_url.txt` with name and link, `<part>_annotion_time.txt` with
    `name.mp4` and any number of MM:SS-MM:SS, `<part>_crop_wh.txt` with `name_number.mp4`, left,
    width, top, height."""
    for file in _files(path, "*_video_url.txt"):
        part = file.name.removesuffix("_video_url.txt")
        times = _lines(file.with_name(f"{part}_annotion_time.txt"))
        boxes = _lines(file.with_name(f"{part}_crop_wh.txt"))
        for video, (link, *_) in _lines(file).items():
            for number, span in enumerate(times.get(f"{video}.mp4", [])):
                start, _, end = span.partition("-")
                box = boxes.get(f"{video}_{number}.mp4", [None] * 4)
                names = ("x", "width", "y", "height")
                yield {"clip": f"{video}_{number}", "video": video, "link": link} | {
                    "start": start, "end": end, **dict(zip(names, box, strict=False))
                }  # fmt: skip


def _lines(path: Path) -> dict[str, list[str]]:
    """The first word of each line, and the others."""
    lines = (line.split() for line in decode_text(read_file(path), path.name).splitlines())
    return {words[0]: words[1:] for words in lines if len(words) > 1}


def _files(path: str | Path, pattern: str) -> list[Path]:
    """Raises `UserError` for a folder that is not on this machine or has no such file."""
    if is_remote(path):
        raise UserError(f"{path}: a list of many files has to be on this machine: copy it")
    files = sorted(Path(path).glob(pattern))
    if not files:
        raise FileNotFoundError(f"no {pattern} in {path}")
    return files


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TableError(f"{name} is no json: {error}") from None


_RECORDS = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "json_files": _json_files,
    "parquet": _parquet,
    "hdtf": _hdtf,
}
