"""`Keypoints`: the whole-body points of one clip, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paha_core.pose import layout

RELIABLE = 0.8  # the paper's tau: the score above which a point counts in the quality columns

_SCHEMA = pa.schema(
    [
        (
            "points",
            pa.list_(pa.float32(), layout.POINTS * 2),
        ),  # x0, y0, x1, y1, …
        ("scores", pa.list_(pa.float32(), layout.POINTS)),
    ]
)


@dataclass(frozen=True)
class Quality:
    """Shares of frames (0 to 1) in which a part is found, and the jitter of the points."""

    face: float
    left_hand: float
    right_hand: float
    body: float
    jitter: float  # median frame-to-frame second difference over the shorter side of the frame


@dataclass(frozen=True, eq=False)
class Keypoints:
    """133 points in each of T frames (see `layout`).

    points: float32 [T, 133, 2], x and y in pixels of the clip; pixel j covers [j, j + 1).
        A point may lie outside the frame.
    scores: float32 [T, 133] in [0, 1]; 0 where the detector gave nothing (the point is then 0, 0).
    size: height and width of the frames.
    Raises `ValueError` for other shapes or scores outside [0, 1].
    """

    points: np.ndarray
    scores: np.ndarray
    size: tuple[int, int]
    detector: str
    version: str
    weights_sha256: str

    def __post_init__(self) -> None:
        frames = len(self.points)
        if self.points.shape != (frames, layout.POINTS, 2):
            raise ValueError(f"points must be [T, {layout.POINTS}, 2], not {self.points.shape}")
        if self.scores.shape != (frames, layout.POINTS):
            raise ValueError(f"scores must be [{frames}, {layout.POINTS}], not {self.scores.shape}")
        if self.points.dtype != np.float32 or self.scores.dtype != np.float32:
            raise ValueError("points and scores must be float32")
        if frames and not (self.scores.min() >= 0 and self.scores.max() <= 1):
            raise ValueError("scores must lie in [0, 1]")

    def __len__(self) -> int:
        return len(self.points)

    def part_found(self, part: slice, threshold: float = RELIABLE) -> np.ndarray:
        """bool [T]: at least half of the part's points are above the threshold."""
        return (self.scores[:, part] > threshold).mean(axis=1) >= 0.5

    def quality(self, threshold: float = RELIABLE) -> Quality:
        """The quality columns of the manifest; `body` is the upper body (half-body shots)."""
        shares = {
            name: float(self.part_found(part, threshold).mean()) if len(self) else 0.0
            for name, part in (
                ("face", layout.FACE),
                ("left_hand", layout.LEFT_HAND),
                ("right_hand", layout.RIGHT_HAND),
                ("body", layout.UPPER_BODY),
            )
        }
        return Quality(**shares, jitter=self.jitter(threshold))

    def jitter(self, threshold: float = RELIABLE) -> float:
        """Median length of the points' second differences over the shorter side of the frame.

        Smooth motion has a small second difference, an unstable detector a large one. Only points
        reliable in three consecutive frames count; 0 where there are none.
        """
        if len(self) < 3:
            return 0.0
        reliable = self.scores > threshold
        usable = reliable[:-2] & reliable[1:-1] & reliable[2:]
        if not usable.any():
            return 0.0
        second = self.points[:-2] - 2 * self.points[1:-1] + self.points[2:]
        return float(np.median(np.linalg.norm(second[usable], axis=-1)) / min(self.size))

    def to_table(self) -> pa.Table:
        """One row per frame; size, detector and weights are in the schema's metadata."""
        metadata = {
            "height": str(self.size[0]),
            "width": str(self.size[1]),
            "detector": self.detector,
            "version": self.version,
            "weights_sha256": self.weights_sha256,
        }
        columns = [
            pa.FixedSizeListArray.from_arrays(pa.array(self.points.reshape(-1)), layout.POINTS * 2),
            pa.FixedSizeListArray.from_arrays(pa.array(self.scores.reshape(-1)), layout.POINTS),
        ]
        return pa.Table.from_arrays(columns, schema=_SCHEMA.with_metadata(metadata))

    def save(self, path: str | Path, *others: pa.Table) -> None:
        """`to_table` as a Parquet file, with the columns of other tables of the same frames."""
        # byte_stream_split compresses floats better than a dictionary: their values rarely repeat.
        pq.write_table(
            side_by_side(self.to_table(), *others),
            path,
            compression="zstd",
            use_dictionary=False,
            use_byte_stream_split=[f"{name}.list.element" for name in _SCHEMA.names],
        )

    @classmethod
    def load(cls, path: str | Path) -> Keypoints:
        """Read a file written by `save`, ignoring other columns. Raises `ValueError` for a Parquet
        file without keypoints.
        """
        schema = pq.read_schema(path)
        meta = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        if "weights_sha256" not in meta or not set(_SCHEMA.names) <= set(schema.names):
            raise ValueError(f"{path} is not a keypoints file")
        table = pq.read_table(path, columns=_SCHEMA.names, partitioning=None)
        return cls(
            points=_matrix(table.column("points")).reshape(-1, layout.POINTS, 2),
            scores=_matrix(table.column("scores")).reshape(-1, layout.POINTS),
            size=(int(meta["height"]), int(meta["width"])),
            detector=meta["detector"],
            version=meta["version"],
            weights_sha256=meta["weights_sha256"],
        )


def side_by_side(*tables: pa.Table) -> pa.Table:
    """One table with the columns and the schema metadata of all; each has one row per frame."""
    columns = {name: table.column(name) for table in tables for name in table.schema.names}
    metadata: dict[bytes, bytes] = {}
    for table in tables:
        metadata |= table.schema.metadata or {}
    return pa.table(columns, metadata=metadata)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """All values of a list column, flattened: float32, writable."""
    pieces = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([*pieces, np.empty(0, np.float32)]).astype(np.float32)
