"""What the data stages find in any video: keypoints, face boxes and the PAR mask.

    found = find_pose(Path("talk.mp4"), PoseConfig())
    found.save(Path("talk.parquet"), ParConfig())
    found.draw(Path("drawn.mp4"), ParConfig())

The video may have any shape, frame rate and length: no step holds its frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paha_core.config import ParConfig, PoseConfig
from paha_core.engine.progress import Progress
from paha_core.errors import UserError
from paha_core.media.audio import read_audio
from paha_core.media.encode import write_video
from paha_core.media.probe import MediaInfo, probe
from paha_core.par import par_weights
from paha_core.pose import Keypoints, open_detector
from paha_core.pose.draw import draw_pose
from paha_core.pose.face import FaceBoxes, detect_face_boxes, face_boxes_from_keypoints
from paha_core.pose.frames import VideoFrames
from paha_core.store import published

CELLS = 64  # PAR cells along the shorter side, as of a 512-pixel clip in latents
_SAMPLE_RATE = 48_000  # Hz of the drawn video's sound
_AT_ONCE = 64  # frames whose masks are held


@dataclass(frozen=True, eq=False)
class VideoPose:
    """What was found in the video at `path`, frame by frame."""

    path: Path
    info: MediaInfo
    keypoints: Keypoints
    faces: FaceBoxes

    def grid(self) -> tuple[int, int, int]:
        """Rows and columns of the PAR mask and the side of its square cells in pixels.

        What is left at the right and at the bottom fills no cell.
        """
        height, width = self.keypoints.size
        cell = max(1, min(height, width) // CELLS)
        return height // cell, width // cell, cell

    def weights(self, par: ParConfig) -> Iterator[np.ndarray]:
        """M of equation 3 for one frame after another: float32 [rows, columns]."""
        rows, columns, cell = self.grid()
        size = (rows * cell, columns * cell)
        # The radius belongs to the whole picture, also where a few of its pixels fill no cell.
        whole = min(self.keypoints.size) / min(size)
        par = par.model_copy(update={"radius": par.radius * whole})
        for start in range(0, len(self.keypoints), _AT_ONCE):
            stop = start + _AT_ONCE
            points = self.keypoints.points[start:stop], self.keypoints.scores[start:stop]
            yield from par_weights(*points, size, par, (rows, columns))

    def save(self, out: Path, par: ParConfig) -> None:
        """A Parquet file, a row a frame; `Keypoints.load` and `FaceBoxes.load` read it too.

        Columns: time (seconds, at the average frame rate), points, scores, box, found, weights
        (rows x columns, row by row).
        """
        rows, columns, cell = self.grid()
        points, boxes = self.keypoints.to_table(), self.faces.to_table()
        metadata = {**(points.schema.metadata or {}), **(boxes.schema.metadata or {})}
        metadata |= {"fps": str(self.info.fps), "rows": str(rows), "columns": str(columns)}
        metadata |= {"cell": str(cell), "par": par.model_dump_json()}
        times = np.arange(len(self.keypoints)) / self.info.fps
        table = pa.table({"time": times.astype(np.float32)})
        for name in points.schema.names:
            table = table.append_column(name, points.column(name))
        for name in boxes.schema.names:
            table = table.append_column(name, boxes.column(name))
        mask = pa.field("weights", pa.list_(pa.float32(), rows * columns))
        schema = pa.schema([*table.schema, mask], metadata=metadata)
        weights = self.weights(par)
        with published(out) as path, pq.ParquetWriter(path, schema, compression="zstd") as file:
            for start in range(0, len(table), _AT_ONCE):
                part = table.slice(start, _AT_ONCE)
                masks = np.concatenate([next(weights).reshape(-1) for _ in range(len(part))])
                column = pa.FixedSizeListArray.from_arrays(pa.array(masks), rows * columns)
                file.write_table(part.append_column(mask, column).cast(schema))

    def draw(self, out: Path, par: ParConfig) -> None:
        """The video again, with its sound, and on it skeleton, face box and glowing PAR mask."""
        wave = read_audio(self.path, _SAMPLE_RATE) if self.info.has_audio else None
        count = len(self.keypoints)
        with published(out) as path, Progress(count, "drawing", unit="frame") as progress:
            write_video(
                path,
                self._pictures(par, progress),
                fps=self.info.fps,
                wave=wave,
                sample_rate=_SAMPLE_RATE,
                count=count,
            )

    def _pictures(self, par: ParConfig, progress: Progress) -> Iterator[np.ndarray]:
        found = zip(
            *(VideoFrames(self.path), self.keypoints.points, self.keypoints.scores),
            *(self.faces.boxes, self.weights(par)),
            strict=True,
        )
        for frame, points, scores, box, weights in found:
            picture = draw_pose(frame, points, scores, par.threshold, box, weights)
            height, width = picture.shape[:2]
            progress.update()
            yield picture[: height // 2 * 2, : width // 2 * 2]  # H.264 needs even sides


def find_pose(video: Path, config: PoseConfig) -> VideoPose:
    """Keypoints and face boxes of the most prominent person of the video.

    Raises `MediaError` for a file that is no video, `FileNotFoundError` for one that is absent or
    for missing weights, and `UserError` when nobody is found in any frame.
    """
    if not video.is_file():
        raise FileNotFoundError(f"no video at {video}")
    detector = open_detector(config)
    info = probe(video)
    frames = VideoFrames(video)
    with Progress(_count(info), "keypoints", unit="frame") as progress:
        keypoints = detector.detect(_Counted(frames, progress))
    if not keypoints.scores.any():
        raise UserError(f"nobody is found in the {len(keypoints)} frames of {video}")
    if config.faces_from_keypoints:
        faces = face_boxes_from_keypoints(keypoints, config)
    else:
        with Progress(len(keypoints), "face boxes", unit="frame") as progress:
            faces = detect_face_boxes(_Counted(frames, progress), config)
    return VideoPose(video, info, keypoints, faces)


def _count(info: MediaInfo) -> int:
    return info.frames or round(info.duration * info.fps)


@dataclass(frozen=True)
class _Counted:
    """Frames that tell the progress of whoever goes through them."""

    frames: Iterable[np.ndarray]
    progress: Progress

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self.frames:
            self.progress.update()
            yield frame
