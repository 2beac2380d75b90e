"""Still pictures as a viewer shows them."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from paha_core.media.ffmpeg import MediaError
from paha_core.media.picture import picture_size, read_picture

EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def upright() -> np.ndarray:
    """Smooth, 60 x 80, no symmetry: red grows to the right, green downwards, blue mark top left."""
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[..., 0] = np.linspace(20, 230, 80)
    picture[..., 1] = np.linspace(30, 200, 60)[:, None]
    picture[:20, :20, 2] = 200
    return picture


def stored(picture: np.ndarray, orientation: int) -> Image.Image:
    """The picture as a camera held that way stores it."""
    undo = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }
    return Image.fromarray(np.ascontiguousarray(undo[orientation]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "webp", "png", "tif"])
def test_exif_orientation_is_applied_in_every_format(tmp_path, upright, orientation, ending):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    image, path = stored(upright, orientation), tmp_path / f"p.{ending}"
    image.save(path, exif=exif, quality=95)
    found = read_picture(path)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 4
    np.testing.assert_array_equal(read_picture(path.read_bytes()), found)
    assert sorted(picture_size(path)) == sorted(image.size)


def test_what_lies_under_alpha_is_not_shown(tmp_path, upright):
    noise = np.random.default_rng(0).integers(0, 255, upright.shape, np.uint8)
    alpha = np.zeros(upright.shape[:2], np.uint8)
    alpha[10:50, 20:60] = 255
    shown = np.where(alpha[..., None] > 0, upright, noise)
    image = Image.fromarray(np.dstack([shown, alpha]))
    expected = np.where(alpha[..., None] > 0, upright, 255)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.webp", lossless=True, exact=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(read_picture(image), expected)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.webp"), expected)
    grey = image.convert("LA")
    grey.save(tmp_path / "la.png")
    assert (read_picture(tmp_path / "la.png")[alpha == 0] == 255).all()
    colours = image.convert("RGB").quantize(32)
    colours.info["transparency"] = 0
    colours.save(tmp_path / "p.png", transparency=0)
    assert (read_picture(tmp_path / "p.png")[np.asarray(colours) == 0] == 255).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_keep_their_brightness(tmp_path, upright, channels):
    picture = upright.astype(np.uint16) * 257
    if channels == 1:
        picture = picture[..., 0]
    elif channels == 4:
        picture = np.dstack([picture, np.full(picture.shape[:2], 65535, np.uint16)])
    order = picture if channels == 1 else picture[..., [2, 1, 0, 3][:channels]]
    cv2.imwrite(str(tmp_path / "deep.png"), order)
    expected = np.repeat(upright[..., :1], 3, axis=2) if channels == 1 else upright
    assert np.abs(read_picture(tmp_path / "deep.png").astype(int) - expected).max() <= 1


@pytest.mark.parametrize("ending", ["gif", "avif", "bmp", "tif", "jp2", "ppm", "tga", "webp"])
def test_formats(tmp_path, upright, ending):
    Image.fromarray(upright).save(tmp_path / f"p.{ending}")
    found = read_picture(tmp_path / f"p.{ending}")
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 8


def test_of_an_animation_the_first_picture_counts(tmp_path, upright):
    frames = [Image.fromarray(np.roll(upright, 20 * n, axis=1)) for n in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.abs(read_picture(tmp_path / "a.gif").astype(int) - upright).mean() < 8


def test_colours_of_a_wide_profile_are_brought_to_srgb(tmp_path, upright):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(upright).save(tmp_path / "srgb.png", icc_profile=lab)
    np.testing.assert_array_equal(read_picture(tmp_path / "srgb.png"), upright)
    Image.fromarray(upright).save(tmp_path / "broken.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(read_picture(tmp_path / "broken.png"), upright)


def test_files_that_are_not_pictures(tmp_path, upright):
    whole = io.BytesIO()
    Image.fromarray(upright).save(whole, "png")
    cases = {
        "text.png": (b"hello", "not a picture"),
        "empty.jpg": (b"", "not a picture"),
        "cut.png": (whole.getvalue()[: len(whole.getvalue()) // 2], "damaged or cut off"),
        "heic.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100, "png, jpg, webp"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=words):
            read_picture(tmp_path / name)
