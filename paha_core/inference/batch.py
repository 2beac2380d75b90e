"""Many videos from one csv with the columns image, audio, out. Run again, it makes only what is
missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paha_core.inference.inputs import InputError
from paha_core.inference.pipeline import OnSegment, PahaPipeline, Settings
from paha_core.inference.video_file import Request, make_video, request_json
from paha_core.media.ffmpeg import MediaError
from paha_core.store import sha256_file
from paha_core.tables import read_rows

COLUMNS = ("image", "audio", "out")


@dataclass
class BatchResult:
    """What became of the rows."""

    made: list[Path] = field(default_factory=list)
    reused: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)  # video -> why


def read_batch(path: Path, settings: Settings, size: int | None = None) -> list[Request]:
    """The requests of a csv; relative paths are relative to the csv.

    Raises `InputError` for a csv without its columns or rows, or with one `out` twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    requests = []
    for row in read_rows(path.read_bytes(), str(path), COLUMNS):
        cells = [row.cells[name] for name in COLUMNS]
        if row.problem or not all(cells):
            raise InputError(f"{path}, line {row.line}: {row.problem or 'a cell is empty'}")
        image, audio, out = (path.parent / cell for cell in cells)
        requests.append(Request(image, audio, out, settings, size))
    outs = [request.out for request in requests]
    twice = sorted({str(out) for out in outs if outs.count(out) > 1})
    if twice:
        raise InputError(f"{path} names {twice[0]} twice")
    return requests


def make_batch(
    pipeline: PahaPipeline,
    requests: list[Request],
    on_video: Callable[[Request, str], None] = lambda request, outcome: None,
    on_segment: OnSegment = lambda done, total: None,
) -> BatchResult:
    """Make what is missing. A row that fails is told and does not stop the others; what no row
    could be made with (`PahaPipeline.check`) is raised before the first."""
    for how in {request.settings for request in requests}:
        pipeline.check(how)
    result = BatchResult()
    for request in requests:
        try:
            if is_made(pipeline, request):
                result.reused.append(request.out)
                on_video(request, "there already")
            else:
                about = make_video(pipeline, request, on_segment)
                result.made.append(request.out)
                on_video(request, f"made in {about['seconds']['total']:.1f} s")
        except (InputError, MediaError, FileNotFoundError) as error:
            result.failed[request.out] = str(error)
            on_video(request, str(error))
    return result


def is_made(pipeline: PahaPipeline, request: Request) -> bool:
    """Whether the video is there, whole, and made by the same request and networks."""
    about = _read(request.sidecar)
    if about is None or not request.out.is_file():
        return False
    request.check()
    size = request.size or pipeline.preset.corpora.clip.size
    return (
        _without_paths(about.get("request"))
        == _without_paths(request_json(replace(request, size=size)))
        and about.get("networks") == pipeline.networks
        and about.get("preset") == pipeline.preset.model_dump(mode="json")
        and about.get("video_sha256") == sha256_file(request.out)
    )


def _without_paths(request: Any) -> Any:
    """A request by what its files hold: they may have moved."""
    if not isinstance(request, dict):
        return None
    return {
        name: value.get("sha256", value) if isinstance(value, dict) else value
        for name, value in request.items()
    }


def _read(sidecar: Path) -> dict[str, Any] | None:
    try:
        about = json.loads(sidecar.read_text())
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None
