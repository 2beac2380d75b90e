"""Any video: its table, its drawn form, and the command."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import ParConfig, PoseConfig
from paha_core.corpora.studio import programme
from paha_core.media.encode import write_video
from paha_core.media.probe import probe
from paha_core.media.video import read_frames
from paha_core.par import par_weights
from paha_core.par.video import find_pose
from paha_core.pose import Keypoints
from paha_core.pose.face import FaceBoxes

pytest.importorskip("mediapipe")
COUNT = 6


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A whole 16:9 programme's start at 12.5 fps, with sound; its sides are no multiples of 64."""
    drawn = programme.prepare("lin", 0, seconds=1, height=270, seed=0)
    frames = [f for f, _ in zip(programme.draw_frames(drawn), range(COUNT))]
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    wave = np.sin(np.arange(8000) / 20).astype(np.float32) / 4
    write_video(path, np.stack(frames), fps=12.5, wave=wave)
    return path


@pytest.fixture(scope="module")
def found(video):
    return find_pose(video, PoseConfig())


def run(*arguments):
    return CliRunner().invoke(app, ["pose", *map(str, arguments)])


def test_the_table_holds_everything(video, found, tmp_path):
    out = tmp_path / "deep" / "talk.parquet"
    found.save(out, ParConfig())
    keypoints, faces = Keypoints.load(out), FaceBoxes.load(out)
    np.testing.assert_array_equal(keypoints.points, found.keypoints.points)
    assert keypoints.size == (270, 480)
    np.testing.assert_array_equal(faces.boxes, found.faces.boxes)
    assert faces.found.all()
    table = pq.read_table(out)
    np.testing.assert_allclose(table["time"].to_numpy(), np.arange(COUNT) / 12.5, atol=1e-6)
    rows, columns, cell = found.grid()
    assert (rows, columns, cell) == (67, 120, 4)
    assert table.schema.metadata[b"rows"] == b"67"
    assert table.schema.metadata[b"detector"] == b"mediapipe"
    weights = np.array(table["weights"].to_pylist(), np.float32).reshape(COUNT, rows, columns)
    # rows of cells: 268 of 270 pixels; the radius is that of all 270
    par = ParConfig(radius=10 * 270 / 268)
    expected = par_weights(keypoints.points, keypoints.scores, (268, 480), par, (67, 120))
    np.testing.assert_array_equal(weights, expected)
    assert weights.max() > 10


def test_the_drawn_video_is_the_video_with_more_on_it(video, found, tmp_path):
    found.draw(tmp_path / "drawn.mp4", ParConfig())
    info = probe(tmp_path / "drawn.mp4")
    assert (info.width, info.height, info.fps, info.has_audio) == (480, 270, 12.5, True)
    drawn, plain = read_frames(tmp_path / "drawn.mp4"), read_frames(video)
    assert len(drawn) == COUNT
    difference = np.abs(drawn.astype(int) - plain).max(axis=3)
    x0, y0, x1, y1 = found.faces.boxes[0].astype(int)
    assert (difference[0, y0:y1, x0:x1] > 40).mean() > 0.3
    assert (difference[0, :, :60] > 40).mean() < 0.01  # nobody is there


def test_the_command(video, tmp_path):
    out, drawn = tmp_path / "talk.parquet", tmp_path / "drawn.mp4"
    result = run(video, "--out", out, "--draw", drawn)
    assert result.exit_code == 0, result.output
    assert "6 of 480x270 at 12.5 fps" in result.output
    assert "mediapipe, 0.10" in result.output
    assert len(Keypoints.load(out)) == COUNT
    assert drawn.is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["drawn.mp4", "talk.parquet"]


def test_errors_are_one_sentence(video, tmp_path):
    out = tmp_path / "out.parquet"
    write_video(tmp_path / "empty.mp4", np.full((3, 128, 128, 3), 90, np.uint8))
    (tmp_path / "text.mp4").write_text("not a video")
    for arguments, words in (
        ((tmp_path / "absent.mp4",), "no video at"),
        ((tmp_path / "text.mp4",), "not a readable media file"),
        ((tmp_path / "empty.mp4",), "nobody was detected in the 3 frames"),
        ((video, "--detector", "dwpose"), "needs --dwpose-pose and --dwpose-person"),
        ((video, "--draw", tmp_path), "is a folder"),
        ((video, "--draw", video), "is the input video"),
    ):
        result = run(*arguments, "--out", out)
        assert result.exit_code == 1
        assert words in result.output
        assert result.output.count("\n") == 1 or "empty" in str(arguments)
        assert not out.exists()
