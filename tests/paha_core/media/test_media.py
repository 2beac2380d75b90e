"""Video and audio in and out, and what happens with files that are not what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paha_core.media.audio import read_audio, write_wav
from paha_core.media.encode import write_video
from paha_core.media.ffmpeg import MediaError, file_url, run
from paha_core.media.probe import probe
from paha_core.media.video import iter_frames, read_frames

SIDE, COUNT, FPS = 64, 37, 25


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    frames = np.zeros((COUNT, SIDE, SIDE, 3), np.uint8)
    frames[..., 0] = 200
    frames[:, :, SIDE // 2 :, 2] = 180
    frames[:, : SIDE // 4] = (np.arange(COUNT) * 6)[:, None, None, None]  # the frame's number
    return frames


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    wave = np.zeros(2 * 16000, np.float32)
    wave[8000:8200] = 0.9  # a click at 0.5 s
    return wave


@pytest.fixture(scope="module")
def video(tmp_path_factory, frames, wave) -> Path:
    path = tmp_path_factory.mktemp("media") / "it's # 1.mp4"
    write_video(path, frames, fps=FPS, wave=wave)
    return path


def test_what_is_written_is_read_again(video, frames):
    read = read_frames(video)
    assert read.shape == frames.shape
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - frames).mean() < 2  # colours too: bt709 both ways
    info = probe(video)
    assert (info.width, info.height, info.fps, info.frames) == (SIDE, SIDE, FPS, COUNT)
    assert (info.video_codec, info.has_audio, info.audio_rate) == ("h264", True, 16000)


@pytest.mark.parametrize("seconds", [0.3, 2.0])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_audio_is_as_long_as_the_picture_and_in_sync(tmp_path, frames, seconds, rate):
    click = np.zeros(round(seconds * rate), np.float32)
    click[round(0.2 * rate) : round(0.21 * rate)] = 0.9
    write_video(tmp_path / "v.mp4", frames, fps=FPS, wave=click, sample_rate=rate)
    wave = read_audio(tmp_path / "v.mp4", rate)
    assert len(wave) == round(COUNT / FPS * rate)
    assert abs(int(np.argmax(np.abs(wave) > 0.3)) / rate - 0.2) < 0.002


def test_writing_streams_and_repeats_to_the_byte(tmp_path, frames, wave):
    write_video(tmp_path / "a.mp4", frames, wave=wave)
    write_video(tmp_path / "b.mp4", iter(frames), wave=wave)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_span_is_read_by_time(video):
    numbers = read_frames(video, size=32, start=0.2, end=0.4)[:, 2, 2, 0] / 6
    np.testing.assert_allclose(numbers, [5, 6, 7, 8, 9], atol=0.5)
    with pytest.raises(MediaError, match="no frames"):
        read_frames(video, start=5, end=6)


def test_square_output_is_cut_not_stretched(tmp_path):
    wide = np.zeros((3, 32, 96, 3), np.uint8)
    wide[:, :, 32:64] = 255
    write_video(tmp_path / "wide.mp4", wide)
    assert read_frames(tmp_path / "wide.mp4", size=16)[:, 4:-4, 4:-4].min() > 240


def test_rotation_is_applied(tmp_path, frames):
    wide = np.repeat(frames, 2, axis=2)
    write_video(tmp_path / "wide.mp4", wide)
    args = ["-display_rotation", "90", "-i", file_url(tmp_path / "wide.mp4"), "-c", "copy"]
    run([*args, file_url(tmp_path / "turned.mp4")])
    info = probe(tmp_path / "turned.mp4")
    assert (info.width, info.height) == (SIDE, 2 * SIDE)
    raw = ["-i", file_url(tmp_path / "turned.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    upright = np.frombuffer(run(raw), np.uint8).reshape(COUNT, 2 * SIDE, SIDE, 3)
    assert np.abs(read_frames(tmp_path / "turned.mp4").astype(int) - upright).mean() < 1


def test_frames_that_are_no_frames(tmp_path, frames):
    with pytest.raises(ValueError, match="must be even"):
        write_video(tmp_path / "v.mp4", frames[:, :63])
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "v.mp4", frames.astype(np.float32))
    with pytest.raises(ValueError, match="at least one"):
        write_video(tmp_path / "v.mp4", [])


def test_wav_round_trip(tmp_path):
    wave = np.sin(np.linspace(0, 300, 8000)).astype(np.float32)
    write_wav(tmp_path / "w.wav", wave, 16000)
    np.testing.assert_allclose(read_audio(tmp_path / "w.wav"), wave, atol=1e-3)
    assert len(read_audio(tmp_path / "w.wav", 8000)) == 4000


def test_ffmpeg_is_stopped_when_it_takes_too_long():
    with pytest.raises(MediaError, match="took longer"):
        run(["-re", "-f", "lavfi", "-i", "testsrc", "-f", "null", "-"], timeout=0.3)


def _truncated(folder: Path, video: Path) -> bytes:
    return video.read_bytes()[: video.stat().st_size * 2 // 3]


def _without_index(folder: Path, video: Path) -> bytes:
    run(["-i", file_url(video), "-c", "copy", file_url(folder / "slow.mp4")])  # index at the end
    whole = (folder / "slow.mp4").read_bytes()
    return whole[: len(whole) * 2 // 3]


def _mp3(folder: Path, video: Path) -> bytes:
    run(["-i", file_url(video), "-vn", "-f", "mp3", file_url(folder / "sound.mp3")])
    return (folder / "sound.mp3").read_bytes()


def _playlist(folder: Path, video: Path) -> bytes:
    return f"#EXTM3U\n#EXTINF:1,\n{_secret(folder, video)}\n#EXT-X-ENDLIST\n".encode()


def _concat(folder: Path, video: Path) -> bytes:
    return f"ffconcat version 1.0\nfile '{_secret(folder, video)}'\n".encode()


def _secret(folder: Path, video: Path) -> Path:
    secret = folder / "secret.mp4"
    secret.write_bytes(video.read_bytes())
    return secret


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder, video: b"", "empty"),
        (_truncated, "truncated"),
        (_without_index, "cut off"),
        (_mp3, "only audio"),
        (_playlist, "not a readable"),
        (_concat, "not a readable"),
        (lambda folder, video: b"hello" * 100, "not a readable"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path, video, make, words):
    path = tmp_path / "talk.mp4"
    path.write_bytes(make(tmp_path, video))
    with pytest.raises(MediaError, match=words):
        probe(path)
    if make is _truncated:
        return  # what is left of it can be read, which is why probe looks at the index
    with pytest.raises(MediaError):
        list(iter_frames(path))
    if make is not _mp3:
        with pytest.raises(MediaError):
            read_audio(path)


def test_pixels_of_an_absurd_shape(tmp_path, video, monkeypatch):
    info = probe(video)
    monkeypatch.setattr("paha_core.media.probe.MAX_PIXELS", 10 * info.width * info.height)
    path = tmp_path / "wide.mp4"
    run(["-i", file_url(video), "-c", "copy", "-aspect", "60000:1", file_url(path)])
    with pytest.raises(MediaError, match="shape of its pixels"):
        probe(path)


def test_an_absurd_duration(tmp_path, video):
    run(["-itsscale", "300000", "-i", file_url(video), "-c", "copy", file_url(tmp_path / "l.mkv")])
    with pytest.raises(MediaError, match="absurd"):
        probe(tmp_path / "l.mkv")


def test_no_audio(tmp_path, frames):
    write_video(tmp_path / "mute.mp4", frames)
    assert not probe(tmp_path / "mute.mp4").has_audio
    with pytest.raises(MediaError, match="no audio"):
        read_audio(tmp_path / "mute.mp4")
