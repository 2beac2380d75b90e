"""The protocol: everything that two numbers must share, besides their extractors, to be compared.
No published code reproduces the paper's tables, so a comparison is only as good as its protocol.
All systems are measured by the one defined here; the report shows it with its hash, and every row
has its name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from paha_core.models import sync_rules
from paha_core.store import sha256_json

if TYPE_CHECKING:
    from paha_core.config import Preset


@dataclass(frozen=True)
class Protocol:
    """The project's constants; the fields of the last block are a preset's (`protocol_of`)."""

    revision: int = 6  # raised when a number could change for the same videos and fields
    reference_set: str = "real training clips, the same for every system"
    fps: float = 25.0
    sample_rate: int = 16_000  # Hz
    min_score: float = 0.3  # a keypoint below it counts as not seen

    # gestures: FGD, Diversity (HA2G)
    pose_fps: float = 15.0
    pose_stride: int = 10
    diversity_rounds: int = 16  # derangements that are averaged

    # beats. The paper smooths the speed over 3 frames, where short strokes melt away: minima then
    # lie 0.33 s from a real clip's beats, not 0.11 (docs/design.md 10; docs/evaluate.md, Controls).
    beat_smoothing: float = 1.0  # frames, sigma
    beat_tolerance: float = 3.0  # frames, sigma
    beat_min_dip: float = 1.5e-3  # shoulder widths a frame; jitter on a still picture dips 1.2e-3
    stroke_smoothing: float = 1.0  # frames, sigma
    stroke_min_rise: float = 0.01  # shoulder widths a frame²; a noisy still picture stays below
    beat_error_cap: float = 0.5  # seconds

    # lips
    lip_min_share: float = 0.5  # of frames that must show the face
    lip_min_frames: int = 16
    lip_still: float = 0.003  # face heights: what deviates less is a still mouth and jitter

    # windows of a video: FVD
    video_window: int = 16  # frames
    video_stride: int = 8

    # SyncNet's face track and shifts
    sync_box_scale: float = 1.0  # of MediaPipe's box, which ends at the brows; S3FD's does not
    sync_shift: int = sync_rules.SHIFT
    track_gap: int = sync_rules.TRACK_GAP
    track_overlap: float = sync_rules.TRACK_OVERLAP
    track_median: int = sync_rules.TRACK_MEDIAN
    crop_scale: float = sync_rules.CROP_SCALE

    # of the preset
    pose_window: int = 34  # frames at `pose_fps`, or the longest even window that every clip fills
    size: int = 512  # pixels of the shorter side at which every video is measured
    max_frames: int = 375  # from a clip's start
    min_track: int = 50  # frames of the shortest face track
    min_face: int = 48  # pixels of the smallest
    video_references: int = 512  # training clips behind FVD

    @property
    def sha256(self) -> str:
        return sha256_json(asdict(self))

    @property
    def name(self) -> str:
        """The protocol's name in each row: numbers of one name may be compared."""
        return f"paha-metrics/{self.revision} {self.sha256[:8]}"

    def described(self) -> dict[str, Any]:
        """The fields in words a report prints."""
        return {name.replace("_", " "): value for name, value in asdict(self).items()}


PROTOCOL = Protocol()


def protocol_of(preset: Preset) -> Protocol:
    """The protocol under which a preset's systems are measured."""
    settings = preset.benchmark
    return Protocol(
        size=preset.evaluation_size,
        pose_window=settings.pose_window,
        max_frames=preset.generation.max_frames,
        min_track=settings.min_track,
        min_face=settings.min_face,
        video_references=settings.video_references,
    )
