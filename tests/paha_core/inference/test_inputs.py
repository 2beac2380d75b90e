import struct
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from paha_core.config import PoseConfig
from paha_core.inference.inputs import (
    InputError,
    check_size,
    frame_portrait,
    read_picture,
    read_voice,
    resize,
)
from paha_core.media.audio import write_wav


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"a\.png: not a picture"):
        read_picture(tmp_path / "a.png")


def test_a_picture_is_rgb_from_a_file_an_image_or_an_array(tmp_path):
    red = np.zeros((64, 66, 3), np.uint8)
    red[..., 0] = 250
    Image.fromarray(red).save(tmp_path / "a.png")
    seen_by_a_turned_camera = Image.fromarray(red.swapaxes(0, 1))
    seen_by_a_turned_camera.getexif()[0x0112] = 5  # transposed
    for given in (tmp_path / "a.png", Image.fromarray(red), red, seen_by_a_turned_camera):
        assert np.array_equal(read_picture(given), red)
    with pytest.raises(InputError, match="the picture must be uint8 RGB"):
        read_picture(red.astype(np.float32))


TONE = np.sin(np.arange(16000) / 20).astype(np.float32)


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (np.zeros(16000), "silent"),
        (np.full(16000, 0.5), "silent"),  # a constant is no sound
        (TONE[:500], "shorter than two frames"),
        (np.where(np.arange(16000) == 9, np.nan, TONE), "no finite numbers"),
    ],
)
def test_a_silent_voice_is_refused(tmp_path, wave, words):
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    for given in (tmp_path / "a.wav", wave):
        with pytest.raises(InputError, match=words):
            read_voice(given)


@pytest.mark.parametrize("scale", [32767, 40])
def test_samples_in_another_unit_are_refused(tmp_path, scale):
    soundfile.write(tmp_path / "a.wav", TONE * scale, 16000, subtype="FLOAT")
    for given in (tmp_path / "a.wav", TONE * scale):
        with pytest.raises(InputError, match="must lie in"):
            read_voice(given)
    assert np.abs(read_voice(TONE * 1.5)).max() > 1  # a little too loud is no other unit


def test_what_lies_under_alpha_is_no_part_of_a_portrait(picture, tmp_path):
    draw = np.random.default_rng(0)
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[:, 40:210] = 255
    noise = draw.integers(0, 255, picture.shape, np.uint8)
    image = Image.fromarray(np.dstack([np.where(alpha[..., None] > 0, picture, noise), alpha]))
    image.save(tmp_path / "a.webp", lossless=True, exact=True)
    for given in (image, tmp_path / "a.webp"):
        found = read_picture(given)
        assert (found[:, :40] == 255).all()
        np.testing.assert_array_equal(found[:, 40:210], picture[:, 40:210])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_face_is_reported(picture, turns):
    turned = np.ascontiguousarray(np.rot90(picture, -turns))
    with pytest.raises(InputError, match=f"turned by {90 * turns} degrees"):
        frame_portrait(turned, 64, PoseConfig())


def test_a_face_too_small_for_identity_is_reported(picture):
    room = np.pad(picture, ((700, 700), (700, 700), (0, 0)), mode="edge")
    with pytest.raises(InputError, match="crop the picture closer"):
        frame_portrait(room, 64, PoseConfig())


def test_samples_are_a_voice_too():
    assert np.array_equal(read_voice(TONE), TONE)
    assert len(read_voice(TONE, max_seconds=0.5)) in (12 * 640, 13 * 640)
    with pytest.raises(InputError, match="mono"):
        read_voice(np.stack([TONE, TONE]))


def test_a_voice_is_cut_to_whole_frames(tmp_path):
    draw = np.random.default_rng(0)
    write_wav(tmp_path / "a.wav", draw.uniform(-0.5, 0.5, 48000).astype(np.float32), 48000)
    assert len(read_voice(tmp_path / "a.wav")) == 25 * 640
    assert len(read_voice(tmp_path / "a.wav", max_seconds=0.5)) in (12 * 640, 13 * 640)


def test_a_file_without_sound_is_no_voice(inputs):
    with pytest.raises(InputError, match=r"me\.png is not a voice"):
        read_voice(inputs[0])


@pytest.mark.parametrize(
    ("size", "words"),
    [((40, 300), "at least 64"), ((90_000, 900), "million"), ((2000, 100), "too narrow")],
)
def test_absurd_sizes_are_refused(size, words):
    with pytest.raises(InputError, match=words):
        check_size("a.png", *size)


def test_a_picture_beyond_what_pillow_opens_is_refused_by_its_size(tmp_path):
    """Its header alone: 20,000 x 20,000 pixels, which would unpack to 1.2 GB."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    parts = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    with pytest.raises(InputError, match="absurdly large"):
        read_picture(tmp_path / "a.png")


def test_a_portrait_needs_exactly_one_face(picture):
    blank = np.full((128, 128, 3), 90, np.uint8)
    with pytest.raises(InputError, match="no face"):
        frame_portrait(blank, 64, PoseConfig())
    both = np.concatenate([picture, picture], axis=1)
    with pytest.raises(InputError, match="2 faces"):
        frame_portrait(both, 64, PoseConfig())


def test_a_wide_picture_is_cropped_around_the_face_or_letterboxed(picture):
    wide = np.pad(picture, ((0, 0), (200, 100), (0, 0)), mode="edge")
    plain, box = frame_portrait(picture, 128, PoseConfig())
    cropped, cropped_box = frame_portrait(wide, 128, PoseConfig())
    whole, whole_box = frame_portrait(wide, 128, PoseConfig(), letterbox=True)
    assert plain.shape == cropped.shape == whole.shape == (1, 128, 128, 3)
    sides = [b[2] - b[0] for b in (box, cropped_box, whole_box)]
    assert sides[1] == pytest.approx(sides[0], rel=0.1)
    assert sides[2] == pytest.approx(sides[0] * 256 / 556, rel=0.1)
    for found in (box, cropped_box, whole_box):
        assert (found >= 0).all()
        assert (found <= 1).all()


def test_resize_keeps_what_fits():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    assert resize(frames, 8) is frames
    assert resize(frames, 16).shape == (2, 16, 16, 3)
    assert resize(frames, 4).shape == (2, 4, 4, 3)
