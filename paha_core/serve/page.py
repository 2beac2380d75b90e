"""The page of `paha app`: static files beside the HTTP API, and endpoints for the page alone."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from paha_core.config import MODES, Mode, Weights
from paha_core.errors import EXPECTED
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.weights.licences import parts_of, summary

Example = Literal["ada", "ben", "lin", "wei"]
EXAMPLES: tuple[Example, ...] = get_args(Example)
EXAMPLE_SIDE = 512
FILES = {
    "app.js": "text/javascript",
    "style.css": "text/css",
    "responsible_use.md": "text/plain; charset=utf-8",  # a link to the one in docs/
}
# Nothing from elsewhere is loaded, and the page is no frame of another.
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; frame-ancestors 'none'"
)


class ModeInfo(BaseModel):
    """A mode of guidance. `reason`: why these networks can't guide so; empty if they can."""

    mode: Mode
    reason: str


class ModelInfo(BaseModel):
    """What the page shows of the networks."""

    name: str
    modes: list[ModeInfo]
    steps: int
    weights: Weights
    fast: bool = Field(description="they are the student's, which takes no other steps or solver")
    licence: str
    adapters: list[str] = Field(description="persons whom UniVDM was adapted to")
    examples: list[str] = Field(description="drawn presenters to try it on")


def add_page(app: FastAPI, pipeline: PahaPipeline) -> None:
    """Add the page and the endpoints that it uses."""
    folder = Path(str(resources.files("paha_core"))) / "serve" / "static"

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return FileResponse(folder / "index.html", media_type="text/html", headers=headers)

    @app.get("/page/{name}", include_in_schema=False)
    def static(name: str) -> FileResponse:
        if name not in FILES:
            raise HTTPException(404, "no such file")
        return FileResponse(folder / name, media_type=FILES[name])

    @app.get("/v1/model")
    def model() -> ModelInfo:
        """The networks: their modes of guidance and permitted uses."""
        preset = pipeline.preset
        return ModelInfo(
            name=preset.name,
            modes=[ModeInfo(mode=mode, reason=_reason(pipeline, mode)) for mode in MODES],
            steps=preset.num_inference_steps,
            weights=preset.generation.weights,
            fast=preset.generation.fast,
            licence=summary(parts_of(preset)),
            adapters=list(pipeline.adapters),
            examples=list(EXAMPLES),
        )

    @app.get("/v1/examples/{name}", response_class=Response)
    def example(name: Example) -> Response:
        """A drawn presenter, png."""
        return Response(_portrait(name), media_type="image/png")


def _reason(pipeline: PahaPipeline, mode: Mode) -> str:
    try:
        pipeline.check(Settings(mode=mode))
    except EXPECTED as error:
        return str(error)
    return ""


@cache
def _portrait(name: Example) -> bytes:
    import cv2

    from paha_core.corpora.studio import programme

    drawn = programme.prepare(name, 0, seconds=1, height=EXAMPLE_SIDE, seed=0)
    left, top, side = drawn.crop
    frame = next(iter(programme.draw_frames(drawn)))[top : top + side, left : left + side]
    _, png = cv2.imencode(".png", np.ascontiguousarray(frame[:, :, ::-1]))
    return bytes(png)
