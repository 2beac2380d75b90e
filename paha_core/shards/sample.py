"""One encoded clip, and its serialisation as tar entries.

The tar is plain WebDataset: the files of a clip share its key, and the part after the first dot is
the field. Arrays are npy files without pickles.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
import wave
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from paha_core.media import FPS
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME

# Field of a sample, its file, type and axes: T frames, R reference frames, the rest as named.
ARRAYS = (
    ("latents", "latents.npy", "float16", "TChw"),
    ("par", "par.npy", "float16", "Thw"),
    ("regions", "regions.npy", "uint8", "Thw"),
    ("audio", "audio.npy", "float16", "Tla"),
    ("faces", "faces.npy", "float32", "T4"),
    ("face_found", "found.npy", "bool", "T"),
    ("reference", "reference.npy", "float16", "Re"),
    ("reference_index", "refindex.npy", "int32", "R"),
)
OPTIONAL = ("reference_latents", "reflatents.npy", "float16", "RChw")
WAVE, META = "wav", "json"


class SampleError(ValueError):
    """A clip whose parts do not match, or a tar entry that does not match its name."""


@dataclass(frozen=True, eq=False)
class ClipSample:
    """A clip of T frames at 25 fps, encoded. Raises `SampleError` when its parts do not match.

    `key`: `manifest_stage.clip_key` of the clip id. `latents` float16 `[T, C, h, w]`. `par` float16
    `[T, h, w]`, the loss weights M. `regions` uint8 `[T, h, w]`. `audio` float16 `[T, layers,
    width]`. `faces` float32 `[T, 4]`, xyxy in units of the clip's side. `face_found` bool `[T]`.
    `reference` float16 `[R, width]`, image embeddings of the frames `reference_index` int32 `[R]`.
    `wave` int16 `[T * 640]`, 16 kHz mono. `meta`: clip_id, dataset, speaker, split, fps,
    sample_rate, frames, names and hashes of the encoders; for generated samples also where they
    come from. `reference_latents` float16 `[R, C, h, w]`: of a generated sample, whose reference is
    a real frame; None for a real clip, whose own latents have it.
    """

    key: str
    latents: np.ndarray
    par: np.ndarray
    regions: np.ndarray
    audio: np.ndarray
    faces: np.ndarray
    face_found: np.ndarray
    reference: np.ndarray
    reference_index: np.ndarray
    wave: np.ndarray
    meta: dict[str, Any]
    reference_latents: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.key or set("./ ") & set(self.key):
            raise SampleError(f"a sample's key has no dot, slash or space: {self.key!r}")
        sizes: dict[str, int] = {"4": 4}
        for name, _, dtype, axes in self.arrays():
            value = getattr(self, name)
            if value.dtype != np.dtype(dtype) or value.ndim != len(axes):
                want = f"{dtype} with {len(axes)} axes"
                raise SampleError(f"{self.key}: {name} is {value.dtype} {value.shape}, not {want}")
            for axis, size in zip(axes, value.shape, strict=True):
                if sizes.setdefault(axis, size) != size:
                    raise SampleError(
                        f"{self.key}: {name} has {size} along {axis} where {sizes[axis]} is right"
                    )
        self._check_times()

    def arrays(self) -> tuple[tuple[str, str, str, str], ...]:
        """The sample's array fields, as in `ARRAYS`."""
        return ARRAYS if self.reference_latents is None else (*ARRAYS, OPTIONAL)

    def _check_times(self) -> None:
        rates = (self.meta.get("fps"), self.meta.get("sample_rate"), self.meta.get("frames"))
        if rates != (FPS, SAMPLE_RATE, self.frames):
            raise SampleError(
                f"{self.key}: fps, sample rate and frames are {rates}, not "
                f"{(FPS, SAMPLE_RATE, self.frames)}"
            )
        if self.wave.dtype != np.int16 or self.wave.shape != (self.frames * SAMPLES_PER_FRAME,):
            raise SampleError(
                f"{self.key}: wave is {self.wave.dtype} {self.wave.shape}, not int16 with "
                f"{SAMPLES_PER_FRAME} samples for each of {self.frames} frames"
            )

    @property
    def frames(self) -> int:
        """T, frames at 25 fps."""
        return len(self.latents)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays in memory."""
        return self.wave.nbytes + sum(getattr(self, name).nbytes for name, *_ in self.arrays())


def to_tar(sample: ClipSample) -> bytes:
    """The sample's files as tar entries (no end of archive); same sample, same bytes."""
    files = {file: _npy(getattr(sample, name)) for name, file, *_ in sample.arrays()}
    files[WAVE] = _wav(sample.wave)
    files[META] = json.dumps(sample.meta, sort_keys=True, ensure_ascii=False).encode()
    parts: list[bytes] = []
    for file, data in sorted(files.items()):
        info = tarfile.TarInfo(f"{sample.key}.{file}")
        info.size = len(data)  # times, owner and mode stay at tarfile's constants
        parts += [info.tobuf(tarfile.PAX_FORMAT), data, bytes(-len(data) % tarfile.BLOCKSIZE)]
    return b"".join(parts)


def from_tar(data: bytes | memoryview) -> ClipSample:
    """The sample whose tar entries `data` is. Its arrays are read-only views of `data`.

    Raises `SampleError` when the bytes are no whole sample.
    """
    files = _entries(data)
    keys = {name.partition(".")[0] for name in files}
    if len(keys) != 1:
        raise SampleError(f"the entries of {len(keys)} clips where one is right")
    key = keys.pop()
    try:
        entries = (*ARRAYS, OPTIONAL) if f"{key}.{OPTIONAL[1]}" in files else ARRAYS
        arrays = {name: _array(files[f"{key}.{file}"]) for name, file, *_ in entries}
        samples = _samples(files[f"{key}.{WAVE}"])
        meta = json.loads(bytes(files[f"{key}.{META}"]))
    except KeyError as error:
        raise SampleError(f"no entry {error.args[0]}") from error
    except (ValueError, EOFError, wave.Error) as error:
        raise SampleError(f"an unreadable entry: {error}") from error
    return ClipSample(key=key, wave=samples, meta=meta, **arrays)


def _entries(data: bytes | memoryview) -> dict[str, memoryview]:
    """The files of a tar by name, without copies; `tarfile` reads those with long names."""
    view, files, place = memoryview(data).toreadonly(), dict[str, memoryview](), 0
    while place < len(data):
        head = bytes(view[place : place + tarfile.BLOCKSIZE])
        if head[257:262] != b"ustar":
            raise SampleError(f"no tar entry at byte {place}")
        if head[156:157] != tarfile.REGTYPE:
            return _entries_by_tarfile(data)
        place += tarfile.BLOCKSIZE
        size = int(head[124:135], 8)
        files[head[:100].rstrip(b"\0").decode()] = view[place : place + size]
        place += size + -size % tarfile.BLOCKSIZE
    return files


def _entries_by_tarfile(data: bytes | memoryview) -> dict[str, memoryview]:
    view = memoryview(data).toreadonly()
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            return {m.name: view[m.offset_data : m.offset_data + m.size] for m in tar}
    except tarfile.TarError as error:
        raise SampleError(f"not a tar: {error}") from error


def _npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.lib.format.write_array(sink, np.ascontiguousarray(array), allow_pickle=False)
    return sink.getvalue()


def _array(data: memoryview) -> np.ndarray:
    """`np.load` of an npy file in memory, without its copy."""
    if bytes(data[:8]) != b"\x93NUMPY\x01\x00":
        raise ValueError("not an npy file of version 1.0")
    start = 10 + int.from_bytes(data[8:10], "little")
    shape, dtype = _npy_header(bytes(data[8:start]))
    return np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)


@lru_cache(maxsize=1024)  # clips of one length share their headers, and parsing one is slow
def _npy_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header))
    if fortran or dtype.hasobject:
        raise ValueError("an npy file with Python objects or in Fortran order")
    return shape, dtype


def _wav(samples: np.ndarray) -> bytes:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return sink.getvalue()


def _samples(data: memoryview) -> np.ndarray:
    with wave.open(io.BytesIO(data), "rb") as file:
        form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        if form != (1, 2, SAMPLE_RATE):
            raise ValueError(f"audio of {form} channels, bytes and Hz, not {(1, 2, SAMPLE_RATE)}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")
