"""The body of a request to generate a video: settings, portrait and voice."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from paha_core.config import Language, Mode, Solver
from paha_core.errors import UserError

IMAGE, AUDIO = (
    "image",
    "audio",
)  # names of the files in a job's folder, whatever a client calls them
MAX_TEXT = 2000  # characters
Model = TypeVar("Model", bound=BaseModel)


class VideoSettings(BaseModel):
    """How the video is generated; null takes the preset's value."""

    model_config = ConfigDict(extra="forbid")
    mode: Mode = "unguided"
    seed: int = Field(0, ge=0, le=2**31 - 1)
    steps: int | None = Field(None, ge=1, le=1000)
    solver: Solver | None = None
    strength: float = Field(1.0, ge=0, le=10, description="multiplies the guidance's lambdas")
    letterbox: bool = False
    adapter: str = Field("", max_length=200, description="of the server's; empty: none")
    force: bool = False


class Speech(BaseModel):
    """Instead of a voice: what to say, in a synthetic one."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field("", max_length=MAX_TEXT)
    language: Language = "en"


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body can't be read"},
    413: {"description": "The body is too large"},
    415: {"description": "Neither multipart nor JSON"},
    422: {"description": "A field, the portrait or the voice is not usable"},
    429: {"description": "The queue is full, or too much is sent at once; see Retry-After"},
}
_FIELDS = {
    name: field
    for model in (Speech, VideoSettings)
    for name, field in model.model_json_schema()["properties"].items()
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            media: {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "oneOf": [{"required": ["audio"]}, {"required": ["text"]}],
                    "properties": {
                        "image": {"type": "string", "format": kind},
                        "audio": {"type": "string", "format": kind},
                    }
                    | _FIELDS
                    | {"text": _FIELDS["text"] | {"minLength": 1}},
                }
            }
            for media, kind in (("multipart/form-data", "binary"), ("application/json", "byte"))
        },
    }
}


async def store_body(request: Request, place: Path) -> VideoSettings:
    """Write the request's portrait and voice to `place` as `IMAGE` and `AUDIO`. Raises
    `HTTPException` for a body that can't be used."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "multipart/form-data":
        form = await request.form(max_files=2, max_fields=16)
        fields: dict[str, Any] = dict(form)
    elif kind == "application/json":
        fields = await _json(request)
    else:
        raise HTTPException(415, "send multipart/form-data, or application/json with base64")
    place.mkdir(parents=True)
    image, audio = fields.pop("image", None), fields.pop("audio", None)
    spoken = {name: fields.pop(name) for name in ("text", "language") if fields.get(name)}
    speech, settings = checked(Speech, spoken), checked(VideoSettings, fields)
    (place / IMAGE).write_bytes(await _content("image", image))
    if audio is None and speech.text:
        await run_in_threadpool(_speak, speech, place / AUDIO)
    elif speech.text:
        raise HTTPException(422, "send audio or text, not both")
    else:
        (place / AUDIO).write_bytes(await _content("audio", audio))
    return settings


def checked(model: type[Model], fields: dict[str, Any]) -> Model:
    """The model of a client's fields. Raises `HTTPException` that names those that are wrong."""
    try:
        return model(**fields)
    except (ValidationError, TypeError) as error:
        problems = error.errors() if isinstance(error, ValidationError) else []
        reason = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
        raise HTTPException(422, reason or "a field is not usable") from error


def _speak(speech: Speech, path: Path) -> None:
    from paha_core.corpora.studio.say import write_speech

    try:
        write_speech(path, speech.text, speech.language)
    except UserError as error:
        raise HTTPException(422, str(error)) from error


async def _json(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(content, dict):
        raise HTTPException(422, "the body must be an object")
    return content


async def _content(name: str, value: Any) -> bytes:
    if isinstance(value, UploadFile):
        data = await value.read()
    elif isinstance(value, str) and "://" in value[:16]:
        raise HTTPException(422, f"{name}: addresses are not fetched; send the file itself")
    elif isinstance(value, str):
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise HTTPException(422, f"{name} is not base64") from error
    else:
        raise HTTPException(422, f"{name} is missing")
    if not data:
        raise HTTPException(422, f"{name} is empty")
    return data
