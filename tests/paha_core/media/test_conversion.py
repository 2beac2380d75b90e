"""Interlaced, HDR, transparent, turned and anamorphic video, as a player shows it."""

from __future__ import annotations

import numpy as np
import pytest
from media_files import ffmpeg

from paha_core.media.conversion import Conversion
from paha_core.media.encode import write_video
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.probe import probe
from paha_core.media.video import conversion_at, iter_frames, read_frames

SIDE = 64


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A bar that moves 6 pixels a frame over a coloured ground, 50 frames at 50 fps."""
    frames = np.zeros((50, SIDE, 2 * SIDE, 3), np.uint8)
    frames[:] = (60, 110, 160)
    for n in range(50):
        frames[n, :, (6 * n) % 100 : (6 * n) % 100 + 20] = (220, 210, 190)
    frames[:, :16, :16] = (200, 40, 40)  # a mark: top left
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    write_video(path, frames, fps=50, crf=8)
    return path


def combs(frames: np.ndarray) -> float:
    """How much neighbouring lines alternate."""
    grey = frames.astype(float).mean(axis=3)
    return float(np.abs(2 * grey[:, 1:-1] - grey[:, :-2] - grey[:, 2:]).mean())


def test_interlaced_video_loses_its_comb(tmp_path, plain):
    path = tmp_path / "tv.ts"
    fields = "tinterlace=interleave_top,setfield=tff"
    coding = ["-c:v", "libx264", "-flags", "+ildct+ilme", "-x264opts", "tff=1", "-crf", 8]
    ffmpeg("-i", plain, "-vf", fields, *coding, path)
    assert conversion_at(path) == Conversion(interlaced=True)
    raw = ["-i", file_url(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    woven = np.frombuffer(run(raw), np.uint8).reshape(-1, SIDE, 2 * SIDE, 3)
    frames = read_frames(path)
    assert len(frames) == len(woven) == 25
    assert combs(woven) > 10
    assert combs(frames) < 1.5 * combs(read_frames(plain)) + 0.5
    span = read_frames(path, start=0.4, end=0.6)  # a seek gives the same pictures
    assert len(span) == 5
    assert min(np.abs(span[2].astype(int) - frame).mean() for frame in frames) < 0.5


@pytest.mark.parametrize("transfer", ["arib-std-b67", "smpte2084"])
def test_hdr_becomes_the_sdr_it_was_made_from(tmp_path, plain, transfer):
    path = tmp_path / "hdr.mp4"
    to_hdr = "zscale=tin=bt709:pin=bt709:min=bt709:t=linear:npl=203:p=bt2020,format=gbrpf32le,"
    to_hdr += f"zscale=t={transfer}:npl=203:m=bt2020nc:r=tv,format=yuv420p10le"
    ffmpeg("-i", plain, "-vf", to_hdr, "-c:v", "libx264", "-crf", "8", path)
    assert conversion_at(path).hdr
    sdr, frames = read_frames(plain, end=0.3), read_frames(path, end=0.3)
    assert np.abs(frames.astype(int) - sdr).mean() < 3
    assert np.abs(frames.astype(int) - sdr)[:, 4:12, 4:12].max() < 12  # the red mark, too
    untagged = ["-bsf:v", "h264_metadata=colour_primaries=2:matrix_coefficients=2"]
    ffmpeg("-i", path, "-c", "copy", *untagged, tmp_path / "untagged.mp4")
    guessed = read_frames(tmp_path / "untagged.mp4", end=0.3)
    assert np.abs(guessed.astype(int) - frames).mean() < 1


def test_transparent_video_is_shown_on_white(tmp_path):
    path = tmp_path / "overlay.mov"
    noise = "nullsrc=s=64x64:r=25:d=0.2,format=gbrap,"
    noise += "geq=r='random(1)*255':g='random(2)*255':b='random(3)*255':a='if(lt(X,32),255,0)'"
    ffmpeg("-f", "lavfi", "-i", f"{noise},format=rgba", "-c:v", "qtrle", path)
    frames = read_frames(path)
    assert len(frames) == 5
    assert (frames[:, :, 33:] == 255).all()
    assert frames[:, :, :32].std() > 40


def test_anamorphic_video_gets_square_pixels(tmp_path, plain):
    path = tmp_path / "dv.mkv"
    ffmpeg("-i", plain, "-vf", "setsar=4/3", "-c:v", "libx264", "-crf", "8", path)
    info = probe(path)
    frame = next(iter_frames(path))
    assert frame.shape == (info.height, info.width, 3) == (SIDE, 171, 3)


@pytest.mark.parametrize("matrix", ["90", "180", "270", "hflip", "vflip"])
def test_every_display_matrix_is_applied(tmp_path, plain, matrix):
    options = ["-display_rotation", matrix] if matrix.isdigit() else [f"-display_{matrix}"]
    path = tmp_path / "turned.mp4"
    ffmpeg(*options, "-i", plain, "-c", "copy", path)
    info = probe(path)
    raw = ["-i", file_url(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    as_players_do = np.frombuffer(run(raw), np.uint8).reshape(-1, info.height, info.width, 3)
    frames = read_frames(path)
    assert np.abs(frames.astype(int) - as_players_do).mean() < 1
    corner = {"90": (-8, 8), "180": (-8, -8), "270": (8, -8), "hflip": (8, -8), "vflip": (-8, 8)}
    assert frames[0][corner[matrix]][0] > 180  # red: where the mark must lie
