"""Validates a user's portrait and voice and converts them to the model's input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from paha_core.config import PoseConfig
from paha_core.errors import UserError
from paha_core.media import picture as media_picture
from paha_core.media.audio import check_range, read_audio
from paha_core.media.ffmpeg import MediaError
from paha_core.media.frames import resize
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, fit_wave
from paha_core.pose.face import detect_faces, face_turn

Picture = str | Path | Image.Image | np.ndarray
Sound = str | Path | np.ndarray
MAX_PICTURE_BYTES = 64 << 20
MIN_SIDE, MAX_PIXELS, MAX_ASPECT = 64, 64_000_000, 8
TOO_LARGE = "more than 64 million pixels are refused"
MAX_SECONDS = 3600.0
SILENT = 1e-3  # of the full scale of 1
MIN_FACE = 0.1  # of the square's side: smaller faces lose their identity
SECOND_FACE = 0.1  # of the largest face's area: smaller ones are background, or no faces


class InputError(UserError):
    """A picture or a voice that can't be used; the message is one sentence with the reason."""


def read_voice(voice: Sound, max_seconds: float | None = None) -> np.ndarray:
    """float32 mono 16 kHz, cut or padded to whole frames, of any audio or video file, or of such
    samples [N] themselves.

    Raises `InputError` for a voice that is empty, silent, no sound at all or longer than an hour,
    and for a file that holds no audio that can be read.
    """
    name, longest = (
        _name_of(voice, "the voice"),
        min(max_seconds or MAX_SECONDS + 1, MAX_SECONDS + 1),
    )
    if isinstance(voice, np.ndarray):
        wave = voice.astype(np.float32)[: round(longest * SAMPLE_RATE)]
        if voice.ndim != 1 or voice.dtype.kind != "f":
            raise InputError(f"{name} must be float samples [N] at 16 kHz, mono")
        try:
            check_range(wave)
        except MediaError as error:
            raise InputError(f"{name}: {error}") from error
    else:
        try:
            wave = read_audio(voice, SAMPLE_RATE, longest)
        except MediaError as error:
            raise InputError(f"{name} is not a voice: {error}") from error
    if len(wave) > MAX_SECONDS * SAMPLE_RATE:
        raise InputError(f"{name}: longer than an hour: cut it, or limit the seconds")
    frames = round(len(wave) / SAMPLES_PER_FRAME)
    if frames < 2:
        raise InputError(f"{name}: shorter than two frames (0.08 s)")
    if np.abs(wave - wave.mean()).max() < SILENT:  # a constant is as silent as zero
        raise InputError(f"{name}: silent")
    return fit_wave(wave, frames)


def read_picture(picture: Picture) -> np.ndarray:
    """uint8 RGB [H, W, 3] of a picture file or a PIL image, upright (EXIF), with white in place of
    transparent parts; or such an array itself. Raises `InputError` for one that can't be read or
    has an absurd size."""
    name = _name_of(picture, "the picture")
    if isinstance(picture, Image.Image):
        check_size(name, *picture.size)
        return media_picture.read_picture(picture)
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise InputError(f"{name} must be uint8 RGB [H, W, 3]")
        check_size(name, picture.shape[1], picture.shape[0])
        return picture
    return _read_picture_file(Path(picture))


def _name_of(given: object, otherwise: str) -> str:
    return str(given) if isinstance(given, str | Path) else otherwise


def _read_picture_file(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if path.stat().st_size > MAX_PICTURE_BYTES:
        raise InputError(f"{path} is larger than {MAX_PICTURE_BYTES >> 20} MiB")
    try:
        # The header's size first: a small file may unpack to gigabytes.
        check_size(str(path), *media_picture.picture_size(path))
        return media_picture.read_picture(path)
    except MediaError as error:
        raise InputError(f"{path}: {error}") from error


def check_size(name: str, width: int, height: int) -> None:
    """Raises `InputError` for a picture that is too small, too large or too narrow."""
    size = f"{name} has {width} x {height} pixels"
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{size}: a portrait needs at least {MIN_SIDE} on each side")
    if width * height > MAX_PIXELS:
        raise InputError(f"{size}: {TOO_LARGE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{size}: too narrow for a portrait")


def frame_portrait(
    picture: np.ndarray, size: int, pose: PoseConfig, letterbox: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A picture, uint8 [H, W, 3], as training clips are framed: uint8 [1, size, size, 3], and its
    face box, float [4] xyxy in 0..1.

    The square is as large as the picture allows, centred on the face from left to right, with the
    face in its upper half. `letterbox` keeps the whole picture instead and repeats its edges to
    make it square. Raises `InputError` unless there is exactly one face, upright and not too small.
    """
    box = one_face(picture, pose)
    height, width = picture.shape[:2]
    share = float(box[3] - box[1]) / (max if letterbox else min)(height, width)
    if share < MIN_FACE:
        raise InputError(
            f"the face takes {share:.0%} of the portrait's height, {MIN_FACE:.0%} are needed for a"
            " likeness: crop the picture closer to the person"
        )
    if letterbox:
        square, left, top = _letterboxed(picture)
    else:
        side = min(height, width)
        left = int(np.clip((box[0] + box[2]) / 2 - side / 2, 0, width - side))
        top = int(np.clip((box[1] + box[3]) / 2 - 0.35 * side, 0, height - side))
        square = picture[top : top + side, left : left + side]
    return resize(square[None], size), (box - [left, top, left, top]) / len(square)


def _letterboxed(picture: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The picture in the middle of a square, and the square's corner in the picture's pixels."""
    height, width = picture.shape[:2]
    down, right = (max(height, width) - n for n in (height, width))
    edges = (down // 2, down - down // 2, right // 2, right - right // 2)
    return cv2.copyMakeBorder(picture, *edges, cv2.BORDER_REPLICATE), -(right // 2), -(down // 2)


def one_face(picture: np.ndarray, pose: PoseConfig) -> np.ndarray:
    """float32 [4] xyxy in pixels of the only face. Raises `InputError` for none or several, and for
    one that lies on its side or upside down."""
    faces = detect_faces(picture, pose)
    if turn := face_turn(picture):
        raise InputError(
            f"the face in the portrait is turned by {90 * turn} degrees: rotate the picture upright"
        )
    if not len(faces):
        raise InputError(
            "no face was found in the portrait: use a picture of one person, face to the camera"
        )
    areas = (faces[:, 2] - faces[:, 0]) * (faces[:, 3] - faces[:, 1])
    count = int((areas > SECOND_FACE * areas[0]).sum())
    if count > 1:
        raise InputError(f"{count} faces were found in the portrait: crop it to one person")
    return faces[0]
