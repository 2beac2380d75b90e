"""One sound: the default track, a mono mix that cannot cancel, samples in a known unit."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from media_files import ffmpeg

from paha_core.media.audio import CANCELLED, read_audio, to_mono
from paha_core.media.encode import write_video
from paha_core.media.ffmpeg import MediaError
from paha_core.media.probe import probe

RATE = 16000
VOICE = (np.sin(np.arange(RATE) * 0.2) * 0.5).astype(np.float32)


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave))))


def test_the_default_track_is_read(tmp_path):
    """As screen recorders write them: a silent first track, the microphone second."""
    write_video(tmp_path / "v.mp4", np.zeros((25, 64, 64, 3), np.uint8), wave=VOICE)
    silence = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo"]
    tracks = ["-map", "0:v", "-map", "1:a", "-map", "0:a", "-t", "1", "-c:v", "copy"]
    flags = ["-disposition:a:0", "0", "-disposition:a:1", "default"]
    path = tmp_path / "two.mp4"
    ffmpeg("-i", tmp_path / "v.mp4", *silence, *tracks, *flags, path)
    assert rms(read_audio(path)) > 0.3
    info = probe(path)
    assert (info.audio_rate, info.audio_channels) == (RATE, 1)  # of the track that is used
    flags = ["-disposition:a:0", "0", "-disposition:a:1", "0"]
    ffmpeg("-i", path, "-map", "0", "-c", "copy", *flags, tmp_path / "n.mkv")
    assert rms(read_audio(tmp_path / "n.mkv")) < 1e-3  # none is marked: the first


@pytest.mark.parametrize("other", [1.0, 0.0, -0.3, -1.0])
def test_a_stereo_mix_does_not_cancel(tmp_path, other):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([VOICE, other * VOICE], axis=1), RATE)
    wave = read_audio(path)
    assert len(wave) == RATE
    expected = (1 + other) / 2 if (1 + other) ** 2 / 2 > CANCELLED * (1 + other**2) else 1
    assert rms(wave) == pytest.approx(expected * rms(VOICE), rel=0.01)
    assert rms(wave) > 0.3 * rms(VOICE)


def test_mono_is_the_mean_of_the_channels():
    both = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    np.testing.assert_allclose(to_mono(both), both.mean(axis=1), atol=1e-6)
    assert to_mono(np.zeros((10, 2), np.float32)).tolist() == [0] * 10
    assert to_mono(np.zeros((0, 2), np.float32)).shape == (0,)


def test_float_samples_in_another_unit_are_refused(tmp_path):
    for peak, words in ((1.3, None), (32767.0, "samples reach 1638")):
        soundfile.write(tmp_path / "f.wav", VOICE * peak, RATE, subtype="FLOAT")
        if words is None:
            assert np.abs(read_audio(tmp_path / "f.wav")).max() == pytest.approx(0.65, abs=0.01)
        else:
            with pytest.raises(MediaError, match=words):
                read_audio(tmp_path / "f.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    broken = VOICE.copy()
    broken[len(broken) // 2] = value
    soundfile.write(tmp_path / "f.wav", broken, RATE, subtype="FLOAT")
    with pytest.raises(MediaError, match="no finite numbers"):
        read_audio(tmp_path / "f.wav")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v.caf", ["-c:a", "pcm_s16le"]),
        ("v.au", ["-c:a", "pcm_mulaw", "-ar", "8000"]),
        ("v.aiff", []),
        ("v.wv", []),
        ("v.opus", ["-ar", "48000"]),
        ("v.aac", []),
        ("v.amr", ["-ar", "8000", "-ac", "1", "-c:a", "libopencore_amrnb"]),
        ("v.w64", []),
        ("v.ac3", []),
        ("v.mka", []),
    ],
)
def test_audio_of_any_container(tmp_path, name, options):
    soundfile.write(tmp_path / "v.wav", VOICE, RATE)
    try:
        ffmpeg("-i", tmp_path / "v.wav", *options, tmp_path / name)
    except MediaError as error:
        if "encoder" in str(error).lower():
            pytest.skip(f"this ffmpeg writes no {name}")
        raise
    wave = read_audio(tmp_path / name)
    assert rms(wave[2000:14000]) == pytest.approx(rms(VOICE), rel=0.15)
