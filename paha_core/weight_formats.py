"""Detects broken weight files: git-lfs pointers, web pages, interrupted downloads.

`check_weights` looks at a few bytes before a library opens the file: the safetensors, torch,
protobuf and zip readers each fail on such files with a message that hides the cause.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import IO

from paha_core.errors import UserError

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".onnx", ".model")
_ZIP = b"PK\x03\x04"
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")
_VARINT_BYTES = 10


class BrokenWeights(UserError):
    """A file without weights, or with only a part of them; the message is one sentence."""


def check_weights(path: str | Path) -> None:
    """Raises `BrokenWeights` for a weight file that can't be whole; of a folder each is checked."""
    path = Path(path)
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.suffix.lower() in SUFFIXES and inner.is_file():
                check_weights(inner)
        return
    size = path.stat().st_size
    if not size:
        raise BrokenWeights(f"{path} is empty: download it again")
    with open(path, "rb") as file:
        start = file.read(512)
        if start.startswith(b"version https://git-lfs"):
            raise BrokenWeights(
                f"{path} is a git-lfs pointer and not the file itself: run `git lfs pull` in its"
                " repository, or download the file"
            )
        if start.lstrip().lower().startswith(_PAGES):
            raise BrokenWeights(
                f"{path} is a web page and not weights: download the file that the page links to"
            )
        file.seek(0)
        if start.startswith(_ZIP):
            whole = zipfile.is_zipfile(file)
        elif path.suffix.lower() == ".safetensors":
            whole = _safetensors_size(file, size) == size
        elif path.suffix.lower() == ".onnx":
            whole = _is_whole_protobuf(file, size)
        else:
            return
    if not whole:
        raise BrokenWeights(f"{path} is cut off or damaged ({size} bytes): download it again")


def _safetensors_size(file: IO[bytes], size: int) -> int:
    """Bytes that the header of a safetensors file announces; 0 where it is none."""
    length = int.from_bytes(file.read(8), "little")
    if length > size:
        return 0
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
        return 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return 0


def _is_whole_protobuf(file: IO[bytes], size: int) -> bool:
    """Whether the top-level fields of a protobuf message (an ONNX model) fill the file exactly."""
    while file.tell() < size:
        kind = _varint(file) & 7
        if kind == 0:
            _varint(file)
        elif kind == 2:
            length = _varint(file)
            if length > size - file.tell():
                return False
            file.seek(length, 1)
        elif kind in (1, 5):
            file.seek(8 if kind == 1 else 4, 1)
        else:
            return False
    return file.tell() == size


def _varint(file: IO[bytes]) -> int:
    value = 0
    for place in range(_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            return 1 << 63  # beyond the end of any file
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            break
    return value
