"""A video and its sidecar, as `paha generate`, its batch mode and the Dagster job write them.

The sidecar is a json beside the video that holds everything the video was made from: settings,
hashes of the inputs and of every network, where those came from, the whole preset. `read_sidecar`
turns it into a request that gives the same frames and sound again, bit for bit on the same device;
the file differs in its signed claim.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from paha_core.config import GuidanceConfig, Preset
from paha_core.inference.credentials import credentials
from paha_core.inference.inputs import InputError
from paha_core.inference.marks import mark_of, mark_video
from paha_core.inference.pipeline import OnSegment, OnStep, PahaPipeline, Settings, describe
from paha_core.inference.precision import repeatable
from paha_core.inference.trace import Trace
from paha_core.local_files import LONGEST_NAME, published
from paha_core.media.encode import SoundFile, write_video
from paha_core.media.frames import resize
from paha_core.media.video import Frames
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME
from paha_core.store import sha256_file

FORM = 3  # of the sidecar
LONGEST_PATH = 4000  # bytes: Linux takes 4095, and a hidden name stands beside the file
LIBRARIES = ("paha", "torch", "diffusers", "numpy", "mediapipe")


@dataclass(frozen=True)
class Request:
    """A video to generate. `size`: side of the mp4 in pixels; None: that of the preset's clips.
    `mark`: the mp4 says that it is generated (`inference.marks`)."""

    image: Path
    audio: Path
    out: Path
    settings: Settings = field(default_factory=Settings)
    size: int | None = None
    mark: bool = True

    @property
    def sidecar(self) -> Path:
        return self.out.with_suffix(".json")

    def check(self) -> None:
        """Raises `FileNotFoundError` or `InputError` before anything heavy is loaded."""
        self.check_inputs()
        self._check_out()

    def check_inputs(self) -> None:
        """As `check`, for a video that is only streamed."""
        for path in (self.image, self.audio):
            if not path.is_file():
                raise FileNotFoundError(f"no file {path}")
        if self.size is not None and (self.size % 2 or not 64 <= self.size <= 4096):
            raise InputError(f"size is {self.size} and must be even, 64 to 4096")

    def _check_out(self) -> None:
        """Raises `InputError` where nothing can be written, or a file of the user's would be
        replaced: only a video beside its own sidecar is ours."""
        out = self.out
        if out.suffix != ".mp4":
            raise InputError(f"{out} is not an .mp4 file")
        parts = (*out.absolute().parts, self.sidecar.name)
        if long := [part for part in parts if len(os.fsencode(part)) > LONGEST_NAME]:
            raise InputError(f"{long[0][:40]!r}… is not a possible file name: give a shorter one")
        if "\0" in str(out) or len(os.fsencode(out.absolute())) > LONGEST_PATH:
            raise InputError(f"{str(out)[:40]!r}… is not a possible path: choose another one")
        if out.is_dir():
            raise InputError(f"{out} is a folder, not a file to write")
        for folder in out.absolute().parents:
            if folder.exists():
                if not folder.is_dir():
                    raise InputError(f"{out} can't be written: {folder} is a file")
                if not os.access(folder, os.W_OK):
                    raise InputError(f"{out} can't be written: no permission in {folder}")
                break
        if out.exists() and any(out.samefile(path) for path in (self.image, self.audio)):
            raise InputError(f"{out} is an input and would be overwritten: choose another name")
        if self.sidecar.exists() and read_json(self.sidecar).get("form") is None:
            raise InputError(
                f"{self.sidecar} exists and is not a video's sidecar: choose another name for {out}"
            )
        if out.exists() and not self.sidecar.exists():
            raise InputError(f"{out} exists and was not made by paha: choose another name")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a json file; empty when it holds something else or can't be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def make_video(
    pipeline: PahaPipeline,
    request: Request,
    on_segment: OnSegment = lambda done, total: None,
    on_frames: Callable[[Frames], None] = lambda frames: None,
    on_step: OnStep = lambda: None,
) -> dict[str, Any]:
    """Write `request.out` and the sidecar beside it, each atomically; returns the sidecar.

    Frames go to `on_frames` and to the encoder as each segment adds them. What `on_step` raises,
    which is called before each sampling step, ends the generation and leaves no file. Raises what
    `Request.check` and `PahaPipeline.__call__` raise.
    """
    request.check()
    if request.mark:
        credentials().signer().close()  # those that can't sign are refused before the work
    settings, trace, started = request.settings, Trace(), time.perf_counter()
    conditions, box, wave = pipeline.conditions(request.image, request.audio, settings)
    stream = pipeline.stream(conditions, box[None], settings, trace, on_segment, on_step=on_step)
    frames, size = len(wave) // SAMPLES_PER_FRAME, request.size or pipeline.preset.corpora.clip.size

    def pictures() -> Iterator[Frames]:
        for piece in stream:
            frames_of_segment = resize(piece[0], size)
            on_frames(frames_of_segment)
            yield from frames_of_segment

    with published(request.out) as path, repeatable(pipeline.device, pipeline.precision(settings)):
        write_video(path, pictures(), sound=SoundFile(request.audio), count=frames, timeout=None)
        sha256 = sha256_file(path)
        sidecar = describe(pipeline, trace, time.perf_counter() - started)
        sidecar |= {
            "form": FORM,
            "request": request_json(replace(request, size=size)),
            "source": pipeline.source,
            "gates_failed": pipeline.gates_failed(settings),
            "face_box": box.tolist(),
            "frames": frames,
            "video_sha256": sha256,  # of pictures and sound as encoded, before the marks
            "marked": request.mark,
            "machine": machine(pipeline.device),
        }
        content = json.dumps(sidecar, indent=2).encode()
        if request.mark:
            mark_video(path, path, mark_of(pipeline.preset, pipeline.networks, content))
        # Before the video: one without a sidecar would be taken for the user's own.
        with published(request.sidecar) as sidecar_path:
            sidecar_path.write_bytes(content)
    return sidecar


def request_json(request: Request) -> dict[str, Any]:
    """The request as the sidecar holds it, with the hashes of its inputs."""
    guidance = request.settings.guidance
    return {
        **{
            name: {"path": str(path.absolute()), "sha256": sha256_file(path)}
            for name, path in (("image", request.image), ("audio", request.audio))
        },
        "settings": asdict(replace(request.settings, guidance=None))
        | {"guidance": guidance.model_dump() if guidance else None},
        "size": request.size,
    }


def machine(device: str) -> dict[str, Any]:
    """What a bit-for-bit repetition depends on besides the inputs."""
    return {
        "device": device,
        "name": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


@dataclass(frozen=True)
class Replay:
    """A video to generate again: the request and preset of its sidecar, and the sidecar."""

    request: Request
    preset: Preset
    sidecar: dict[str, Any]

    @property
    def device(self) -> str:
        return str(self.sidecar["machine"]["device"])

    @property
    def threads(self) -> int:
        return int(self.sidecar["machine"]["threads"])

    @property
    def store(self) -> str:
        """URL of the store that the networks came from; empty if they came from a folder."""
        return str(self.sidecar["source"].get("store", ""))

    @property
    def folder(self) -> Path | None:
        """The exported folder that the networks came from, or None."""
        source = self.sidecar["source"]
        return Path(source["folder"]) if "folder" in source else None

    def check_networks(self, pipeline: PahaPipeline) -> None:
        """Raise `InputError` if a network is not the one that made the video."""
        for role, made in self.sidecar["networks"].items():
            found = pipeline.networks.get(role)
            if found is None or found["sha256"] != made["sha256"]:
                raise InputError(
                    f"{role} is not the one that made the video: give --store or --folder of "
                    "the one that did"
                )

    def load_adapters(self, pipeline: PahaPipeline) -> None:
        """Load the adapters that acted. Raises `InputError` for one that has changed."""
        for made in self.sidecar.get("adapters", []):
            name = pipeline.load_adapter(made["path"], scale=made["scale"])
            if pipeline.adapters[name].sha256 != made["sha256"]:
                raise InputError(f"{made['path']} is not the adapter that made the video")


def read_sidecar(
    path: Path, out: Path, image: Path | None = None, audio: Path | None = None
) -> Replay:
    """Read a sidecar as a request to write the same video as `out`. `image` and `audio` are the
    inputs' new paths, if they have moved.

    Raises `InputError` for a file that is not a sidecar, and for inputs that have changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        sidecar = json.loads(path.read_text())
        request, form = sidecar["request"], sidecar["form"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the sidecar of a generated video") from error
    if form != FORM:
        raise InputError(
            f"{path} was written by another version (form {form}, this one reads {FORM}): generate "
            "the video again from its picture and voice"
        )
    files = {}
    for name, given in (("image", image), ("audio", audio)):
        files[name] = file = given or Path(request[name]["path"])
        if not file.is_file():
            raise FileNotFoundError(f"no file {file}: give it with --{name}")
        if sha256_file(file) != request[name]["sha256"]:
            raise InputError(f"{file} is not the {name} that the video was made from")
    guidance = request["settings"]["guidance"]
    settings = request["settings"] | {"guidance": GuidanceConfig(**guidance) if guidance else None}
    repeated = Request(
        files["image"],
        files["audio"],
        out,
        Settings(**settings),
        request["size"],
        sidecar.get("marked", True),
    )
    return Replay(repeated, Preset(**sidecar["preset"]), sidecar)
