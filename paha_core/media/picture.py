"""Read still pictures: portraits and references, any format of Pillow, as a viewer shows them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from paha_core.media.ffmpeg import MediaError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".jp2"),
    *(".ppm", ".pgm", ".tga"),
)
GROUND = (255, 255, 255)  # behind transparent parts, as behind transparent video
FORMATS = "png, jpg, webp, avif, gif, bmp, tif, jp2"

# What Pillow and its plugins raise for broken files.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, RuntimeError)


def picture_size(source: str | Path | bytes) -> tuple[int, int]:
    """Width and height that the header declares; nothing is decoded.

    Raises `MediaError` for a file that is not a picture, or that unpacks to a billion pixels.
    """
    with _opened(source) as picture:
        return picture.size


def read_picture(source: str | Path | bytes | Image.Image) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3], upright (EXIF), in sRGB; transparent parts become white.

    source: a path, a file's bytes, or an open PIL image; of an animation the first picture.
    Raises `MediaError` for a file that can't be read.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source)
    with _opened(source) as picture:
        try:
            return _to_rgb(picture)
        except _BROKEN as error:
            raise MediaError("the picture is damaged or cut off") from error


def _opened(source: str | Path | bytes) -> Image.Image:
    file: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file)
    except Image.DecompressionBombError as error:
        raise MediaError("the picture is absurdly large") from error
    except _BROKEN as error:
        raise MediaError(f"not a picture that can be read ({FORMATS} can)") from error


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    profile = picture.info.get("icc_profile")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16-bit grey, which `convert` would clip to 255
        grey = np.asarray(upright, dtype=np.float64) / 257
        upright = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        opaque = Image.new("RGBA", upright.size, (*GROUND, 255))
        upright = Image.alpha_composite(opaque, upright.convert("RGBA"))
    if profile and upright.mode in ("RGB", "RGBA", "CMYK"):
        upright = _to_srgb(upright, profile)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """The picture's colours by its ICC profile (Display P3 of phones); a broken one is ignored."""
    plain = picture if picture.mode == "CMYK" else picture.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return picture
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(plain, source, target, outputMode="RGB") or picture
    except (ImageCms.PyCMSError, OSError):
        return picture
