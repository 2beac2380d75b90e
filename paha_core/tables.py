"""Tables that people save: csv in the encodings and with the delimiters of spreadsheets.

for row in read_rows(path.read_bytes(), path.name):
    row.cells["speaker"], row.line, row.problem
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from paha_core.errors import UserError

DELIMITERS = ",;\t|"
LINE_END = re.compile(r"\r\n|\r|\n")
UNSEEN = "\ufeff\u200b\u200e\u200f"  # byte order mark, zero-width space, marks of direction
# utf-32's mark begins with utf-16's, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TableError(UserError):
    """A table that can't be read as a whole."""


@dataclass(slots=True)
class TableRow:
    """One row: its cells by column, stripped; its line in the file; and why it can't be used, or
    an empty string."""

    cells: dict[str, str]
    line: int
    problem: str = ""


def decode_text(data: bytes, name: str) -> str:
    """Text in the encoding of its byte order mark, else UTF-8, GBK or Latin-1 (Windows-1252).

    Raises `TableError` for bytes that are not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                raise TableError(f"{name} is cut off or is not {encoding} text") from None
    if b"\0" in data:
        raise TableError(f"{name} is not a text file: save it as csv in UTF-8")
    for encoding in ("utf-8", "gbk", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "gbk" or _is_gbk(data):
            return text
    return data.decode("latin-1")


def _is_gbk(data: bytes) -> bool:
    """Whether bytes that decode as GBK are Chinese: there both bytes of nearly every character are
    above 0x80, while accented letters of Western text stand between plain ones."""
    high = sum(byte > 0x80 for byte in data)
    pairs = sum(a > 0x80 and b > 0x80 for a, b in itertools.pairwise(data))
    return pairs >= 0.5 * high


def read_rows(data: bytes, name: str, columns: Iterable[str] = ()) -> list[TableRow]:
    """The rows of a csv in order, without those whose cells are all empty.

    The delimiter is whichever of comma, semicolon, tab and bar the header holds most often. A row
    with more cells than the header has a problem. Raises `TableError` when one of `columns` is
    missing or named twice, there are no rows, or a quotation mark is never closed.
    """
    text = decode_text(data, name).lstrip(UNSEEN)  # a mark once more, of a file saved twice
    if not text.strip():
        raise TableError(f"{name} is empty")
    first, *rest = LINE_END.split(text, maxsplit=1)
    if first.strip().lower().startswith("sep="):  # Excel's own mark
        text = "".join(rest)
        first = LINE_END.split(text, maxsplit=1)[0]
    delimiter = max(DELIMITERS, key=_unquoted(first).count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [_plain(cell) for cell in next(reader, [])]
        _require(header, columns, name)
        rows = [
            _row(cells, header, reader.line_num) for cells in reader if any(map(str.strip, cells))
        ]
    except csv.Error as error:
        raise TableError(
            f"{name}, line {reader.line_num}: {error}; check its quotation marks"
        ) from None
    if not rows:
        raise TableError(f"{name} has no rows")
    return rows


def _plain(cell: str) -> str:
    """The cell without spaces around it, and without characters that nobody sees there."""
    stripped = cell.strip()
    return stripped if stripped.isascii() else stripped.strip(UNSEEN).strip()


def _row(cells: list[str], header: list[str], line: int) -> TableRow:
    stripped = [_plain(cell) for cell in cells]
    values = dict(zip(header, stripped, strict=False))
    problem = ""
    if any(stripped[len(header) :]):
        problem = f"line {line} has {len(cells)} cells, the header {len(header)}"
    return TableRow({column: values.get(column, "") for column in header if column}, line, problem)


def _require(header: list[str], columns: Iterable[str], name: str) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        found = ", ".join(repr(column) for column in header[:8] if column) or "nothing"
        raise TableError(f"{name} has no column {', '.join(missing)}; its first line names {found}")
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise TableError(f"{name} names the column {twice[0]} twice")


def _unquoted(line: str) -> str:
    """The part of a line outside quotation marks."""
    return "".join(line.split('"')[::2])
