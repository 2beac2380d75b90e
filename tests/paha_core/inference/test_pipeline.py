import numpy as np
import pytest

from paha_core.inference.pipeline import InputError, read_picture, read_voice, resize
from paha_core.media.audio import write_wav


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"a\.png is not a picture"):
        read_picture(tmp_path / "a.png")


def test_a_picture_is_rgb(tmp_path):
    import cv2

    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 250
    cv2.imwrite(str(tmp_path / "a.png"), red[:, :, ::-1])
    assert np.array_equal(read_picture(tmp_path / "a.png"), red)


@pytest.mark.parametrize(
    ("wave", "words"), [(np.zeros(16000), "silent"), (np.full(500, 0.5), "shorter than two frames")]
)
def test_a_voice_that_says_nothing_is_refused(tmp_path, wave, words):
    write_wav(tmp_path / "a.wav", wave.astype(np.float32), 16000)
    with pytest.raises(InputError, match=words):
        read_voice(tmp_path / "a.wav")


def test_a_voice_is_cut_to_whole_frames(tmp_path):
    draw = np.random.default_rng(0)
    write_wav(tmp_path / "a.wav", draw.uniform(-0.5, 0.5, 48000).astype(np.float32), 48000)
    assert len(read_voice(tmp_path / "a.wav")) == 25 * 640
    assert len(read_voice(tmp_path / "a.wav", max_seconds=0.5)) in (12 * 640, 13 * 640)


def test_resize_keeps_what_fits():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    assert resize(frames, 8) is frames
    assert resize(frames, 16).shape == (2, 16, 16, 3)
    assert resize(frames, 4).shape == (2, 4, 4, 3)
