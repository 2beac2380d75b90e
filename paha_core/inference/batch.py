"""Many videos from one csv with the columns image, audio and out. A second run generates only what
is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.inference.inputs import InputError
from paha_core.inference.marks import is_unchanged
from paha_core.inference.pipeline import OnSegment, PahaPipeline, Settings
from paha_core.inference.video_file import Request, make_video, read_json, request_json
from paha_core.store import sha256_file
from paha_core.tables import read_rows

COLUMNS = ("image", "audio", "out")


@dataclass
class BatchResult:
    """The outcome of each row."""

    made: list[Path] = field(default_factory=list)
    reused: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)  # video -> why


def read_batch(
    path: Path, settings: Settings, size: int | None = None, mark: bool = True
) -> list[Request]:
    """Read the requests of a csv; relative paths are relative to the csv.

    Raises `InputError` for a csv that lacks a column or rows, or repeats an `out`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    requests = []
    for row in read_rows(path.read_bytes(), str(path), COLUMNS):
        cells = [row.cells[name] for name in COLUMNS]
        if row.problem or not all(cells):
            raise InputError(f"{path}, line {row.line}: {row.problem or 'a cell is empty'}")
        image, audio, out = (path.parent / cell for cell in cells)
        requests.append(Request(image, audio, out, settings, size, mark))
    outs = Counter(os.path.realpath(str(request.out).replace("\0", "?")) for request in requests)
    twice = [out for out, times in outs.items() if times > 1]
    if twice:
        raise InputError(f"{path} names {twice[0]} twice")
    return requests


def make_batch(
    pipeline: PahaPipeline,
    requests: list[Request],
    on_video: Callable[[Request, str], None] = lambda request, outcome: None,
    on_segment: OnSegment = lambda done, total: None,
) -> BatchResult:
    """Generate what is missing. A row that fails is reported and does not stop the others; settings
    that no video can be generated with (`PahaPipeline.check`) raise before the first."""
    for settings in {request.settings for request in requests}:
        pipeline.check(settings)
    result = BatchResult()
    for request in requests:
        try:
            if is_made(pipeline, request):
                result.reused.append(request.out)
                on_video(request, "up to date")
            else:
                sidecar = make_video(pipeline, request, on_segment)
                result.made.append(request.out)
                on_video(request, f"generated in {sidecar['seconds']['total']:.1f} s")
        except (UserError, OSError) as error:
            result.failed[request.out] = str(error)
            on_video(request, str(error))
    return result


def is_made(pipeline: PahaPipeline, request: Request) -> bool:
    """Whether the video exists, is whole, and was made by the same request and networks."""
    request.check()
    sidecar = read_json(request.sidecar)
    if not request.out.is_file():
        return False
    size = request.size or pipeline.preset.corpora.clip.size
    return (
        _without_paths(sidecar.get("request"))
        == _without_paths(request_json(replace(request, size=size)))
        and sidecar.get("networks") == pipeline.networks
        and sidecar.get("adapters", []) == pipeline.acting_adapters()
        and _preset_of(sidecar) == pipeline.preset
        and sidecar.get("marked", False) == request.mark
        and _is_whole(request, sidecar)
    )


def _preset_of(sidecar: dict[str, Any]) -> Preset | None:
    """The sidecar's preset; keys that did not exist yet have their defaults."""
    try:
        return Preset(**sidecar.get("preset", {}))
    except ValidationError:
        return None


def _is_whole(request: Request, sidecar: dict[str, Any]) -> bool:
    if request.mark:
        return is_unchanged(request.out, request.sidecar)
    return bool(sidecar.get("video_sha256") == sha256_file(request.out))


def _without_paths(request: Any) -> Any:
    """A request with hashes in place of its files, which may have moved."""
    if not isinstance(request, dict):
        return None
    return {
        name: value.get("sha256", _given(value)) if isinstance(value, dict) else value
        for name, value in request.items()
    }


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are not left to the preset, as all are that did not exist yet."""
    return {name: value for name, value in settings.items() if value is not None}
