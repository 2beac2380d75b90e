"""`paha pose`: keypoints, face boxes and PAR mask of a video, as a table and drawn on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from paha_core.commands.shared import PresetOption, one_sentence, print_table
from paha_core.errors import UserError

if TYPE_CHECKING:
    from paha_core.config import PoseConfig
    from paha_core.par.video import VideoPose


def pose(
    video: Annotated[Path, typer.Argument(help="Any video; the most prominent person is used.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write: one row per frame.")],
    draw: Annotated[
        Path | None, typer.Option(help="An mp4 to write: the video with everything drawn on it.")
    ] = None,
    detector: Annotated[
        Literal["mediapipe", "dwpose"] | None,
        typer.Option(help="[from the preset]"),
    ] = None,
    dwpose_pose: Annotated[
        str | None, typer.Option(help="DWPose-l 384x288 as ONNX: a path, or a URL to download.")
    ] = None,
    dwpose_person: Annotated[str | None, typer.Option(help="YOLOX as ONNX: a path or URL.")] = None,
    device: Annotated[
        Literal["cpu", "cuda", "tensorrt"] | None,
        typer.Option(help="Device of dwpose [from the preset]."),
    ] = None,
    preset: PresetOption = "demo",
) -> None:
    """Detect keypoints and face boxes in a video and compute its PAR mask.

    Use it to check footage before training: the drawn video shows the skeleton, the face box and
    the loss weight of each latent cell.

    Examples:

        paha pose talk.mp4 --out talk.parquet --draw drawn.mp4

        paha pose talk.mp4 --out talk.parquet --detector dwpose \\
            --dwpose-pose dw-ll_ucoco_384.onnx --dwpose-person yolox_l.onnx --device cuda
    """
    with one_sentence():
        from paha_core.config import load_preset

        settings = load_preset(preset)
        changes = {
            "detector": detector,
            "dwpose_pose": dwpose_pose,
            "dwpose_person": dwpose_person,
            "device": device,
        }
        config = _changed(settings.pose, {k: v for k, v in changes.items() if v is not None})
        for path in (out, draw):
            _check_target(path, video)
        from paha_core.par.video import find_pose

        video_pose = find_pose(video, config)
        video_pose.save(out, settings.par)
        _show(video_pose, out)
        if draw is not None:
            video_pose.draw(draw, settings.par)
            typer.echo(f"drawn: {draw}")


def _changed(config: PoseConfig, changes: dict[str, str]) -> PoseConfig:
    """Raises `UserError` when the detector lacks its weights."""
    config = config.model_copy(update=changes)
    if config.detector == "dwpose" and not (config.dwpose_pose and config.dwpose_person):
        raise UserError(
            "the detector dwpose needs --dwpose-pose and --dwpose-person, or both in the preset"
        )
    return config


def _check_target(path: Path | None, video: Path) -> None:
    """Called before detection starts. Raises `UserError` for a path that can't be written."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file to write")
    if path.resolve() == video.resolve():
        raise UserError(f"{path} is the input video and would be overwritten")
    path.resolve().parent.mkdir(parents=True, exist_ok=True)


def _show(video_pose: VideoPose, out: Path) -> None:
    keypoints, faces = video_pose.keypoints, video_pose.faces
    quality = keypoints.quality()
    rows, columns, cell = video_pose.grid()
    height, width = keypoints.size
    union = ", ".join(f"{side:.0f}" for side in faces.union)
    lines: list[tuple[str, ...]] = [
        ("frames", f"{len(keypoints)} of {width}x{height} at {video_pose.info.fps:.4g} fps"),
        ("detector", f"{keypoints.detector}, {keypoints.version}"),
        ("weights", keypoints.weights_sha256[:16]),
        ("frames with a body", f"{quality.body:.1%}"),
        ("with a face", f"{quality.face:.1%} ({faces.found.mean():.1%} with a box)"),
        ("with a left hand", f"{quality.left_hand:.1%}"),
        ("with a right hand", f"{quality.right_hand:.1%}"),
        ("jitter", f"{quality.jitter:.2%} of the shorter side"),
        ("face in all frames", f"{union} ({faces.source})"),
        ("PAR mask", f"{rows}x{columns} cells of {cell} pixels"),
        ("written", str(out)),
    ]
    print_table(str(video_pose.path), ("", "value"), lines)
