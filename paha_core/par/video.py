"""Keypoints, face boxes and the PAR mask of any video file.

    pose = find_pose(Path("talk.mp4"), PoseConfig())
    pose.save(Path("talk.parquet"), ParConfig())
    pose.draw(Path("drawn.mp4"), ParConfig())

The video may have any shape, frame rate and length: its frames are never all in memory.
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
from paha_core.local_files import published
from paha_core.media.encode import SoundFile, write_video
from paha_core.media.probe import MediaInfo, probe
from paha_core.media.timeline import at_rate, frame_times, is_steady
from paha_core.par import par_weights
from paha_core.pose import Keypoints, open_detector
from paha_core.pose.draw import draw_pose
from paha_core.pose.face import FaceBoxes, FaceSearch, face_boxes_from_keypoints
from paha_core.pose.frames import VideoFrames
from paha_core.pose.keypoints import side_by_side

CELLS = 64  # PAR cells along the shorter side, as of a 512-pixel clip in latents
DRAWN_FPS = 60  # of a video whose own rate varies: each frame appears within 10 ms of its time
_CHUNK = 64  # frames whose masks are in memory


@dataclass(frozen=True, eq=False)
class VideoPose:
    """Keypoints and face boxes of the frames of the video at `path`.

    times: float64 [T + 1], the start of each frame and the end of the last, in seconds from the
        file's time 0, which is also that of its sound.
    """

    path: Path
    info: MediaInfo
    times: np.ndarray
    keypoints: Keypoints
    faces: FaceBoxes

    def grid(self) -> tuple[int, int, int]:
        """Rows and columns of the PAR mask and the side of its square cells in pixels.

        Pixels at the right and bottom edges that fill no whole cell are left out.
        """
        height, width = self.keypoints.size
        cell = max(1, min(height, width) // CELLS)
        return height // cell, width // cell, cell

    def weights(self, par: ParConfig) -> Iterator[np.ndarray]:
        """M of equation 3 for one frame after another: float32 [rows, columns]."""
        rows, columns, cell = self.grid()
        size = (rows * cell, columns * cell)
        # The radius refers to the whole frame, including pixels that fill no cell.
        whole = min(self.keypoints.size) / min(size)
        par = par.model_copy(update={"radius": par.radius * whole})
        for start in range(0, len(self.keypoints), _CHUNK):
            stop = start + _CHUNK
            points = self.keypoints.points[start:stop], self.keypoints.scores[start:stop]
            yield from par_weights(*points, size, par, (rows, columns))

    def save(self, out: Path, par: ParConfig) -> None:
        """A Parquet file with one row per frame; `Keypoints.load` and `FaceBoxes.load` read it too.

        Columns: time (the frame's own, in seconds), points, scores, box, found, weights (rows x
        columns, row by row).
        """
        rows, columns, cell = self.grid()
        times = pa.table({"time": self.times[:-1]})
        table = side_by_side(times, self.keypoints.to_table(), self.faces.to_table())
        metadata = table.schema.metadata | {"fps": str(self.info.fps)}
        metadata |= {"rows": str(rows), "columns": str(columns)}
        metadata |= {"cell": str(cell), "par": par.model_dump_json()}
        mask = pa.field("weights", pa.list_(pa.float32(), rows * columns))
        schema = pa.schema([*table.schema, mask], metadata=metadata)
        weights = self.weights(par)
        with published(out) as path, pq.ParquetWriter(path, schema, compression="zstd") as file:
            for start in range(0, len(table), _CHUNK):
                part = table.slice(start, _CHUNK)
                masks = np.concatenate([next(weights).reshape(-1) for _ in range(len(part))])
                column = pa.FixedSizeListArray.from_arrays(pa.array(masks), rows * columns)
                file.write_table(part.append_column(mask, column).cast(schema))

    def draw(self, out: Path, par: ParConfig) -> None:
        """The video with its sound, and skeleton, face box and PAR heat map drawn on each frame.

        A constant frame rate is kept; a variable one becomes `DRAWN_FPS`. Sound and picture stay in
        sync.
        """
        fps, count, sound_start = self._timing()
        sound = SoundFile(self.path, sound_start) if self.info.has_audio else None
        with published(out) as path, Progress(count, "drawing", unit="frame") as progress:
            pictures = self._pictures(par, fps, count, sound_start, progress)
            write_video(path, pictures, fps=fps, sound=sound, count=count, timeout=None)

    def _timing(self) -> tuple[float, int, float]:
        """Rate and number of the drawn frames, and the file's time at which the drawn video begins:
        less than half a frame from 0, so that frames of a constant rate are neither dropped nor
        doubled."""
        times, fps = self.times[:-1], self.info.fps
        if not is_steady(times, fps):
            return DRAWN_FPS, max(1, round(self.times[-1] * DRAWN_FPS)), 0.0
        before = round(times[0] * fps)  # frames of silence or sound before the first picture
        return fps, before + len(times), times[0] - before / fps

    def _pictures(
        self, par: ParConfig, fps: float, count: int, start: float, progress: Progress
    ) -> Iterator[np.ndarray]:
        for picture in at_rate(self._drawn(par, start), fps, count):
            progress.update()
            yield picture

    def _drawn(self, par: ParConfig, start: float) -> Iterator[tuple[float, np.ndarray]]:
        """Each frame with everything drawn on it, and its time after `start`."""
        for time, frame, points, scores, box, weights in zip(
            self.times[:-1],
            VideoFrames(self.path),
            self.keypoints.points,
            self.keypoints.scores,
            self.faces.boxes,
            self.weights(par),
            strict=True,
        ):
            picture = draw_pose(frame, points, scores, par.threshold, box, weights)
            height, width = picture.shape[:2]
            yield time - start, picture[: height // 2 * 2, : width // 2 * 2]  # even, for H.264


def find_pose(video: Path, config: PoseConfig) -> VideoPose:
    """Keypoints and face boxes of the most prominent person of the video.

    Raises `MediaError` for a file that is not a video, `FileNotFoundError` for an absent file or
    missing weights, and `UserError` when nobody is detected in any frame.
    """
    if not video.is_file():
        raise FileNotFoundError(f"no video at {video}")
    detector = open_detector(config)
    info = probe(video)
    times = frame_times(video)
    search = FaceSearch(VideoFrames(video))  # for faces in the frames that the detector decodes
    frames = VideoFrames(video) if config.faces_from_keypoints else search
    with Progress(len(times) - 1, "keypoints", unit="frame") as progress:
        keypoints = detector.detect(_WithProgress(frames, progress))
    if not keypoints.scores.any():
        raise UserError(f"nobody was detected in the {len(keypoints)} frames of {video}")
    if config.faces_from_keypoints:
        faces = face_boxes_from_keypoints(keypoints, config)
    else:
        faces = search.boxes(config, keypoints)
    return VideoPose(video, info, times, keypoints, faces)


@dataclass(frozen=True)
class _WithProgress:
    """Frames that update a progress bar while they are iterated."""

    frames: Iterable[np.ndarray]
    progress: Progress

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self.frames:
            self.progress.update()
            yield frame
