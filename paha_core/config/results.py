"""The sections of generation and benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from paha_core.config.base import Section


class GuidanceConfig(Section):
    """Equations 8-12 and algorithm 1."""

    face: float = Field(0.1, ge=0)  # lambda_face
    non_face: float = Field(1.0, ge=0)  # lambda_non-face
    differential: float = Field(0.25, ge=0)  # lambda_diff
    rate: float = Field(0.5, ge=0, le=1)  # r of algorithm 1
    form: Literal["residual", "residual_printed_masks", "printed"] = Field(
        "residual", description="of equation 12; the others are there to be compared with"
    )


class GenerationConfig(Section):
    ddim_steps: int = Field(30, ge=1)
    segment_frames: int = Field(32, ge=2)
    guidance: GuidanceConfig = GuidanceConfig()
    modes: tuple[Literal["unguided", "sequential", "differential"], ...] = (
        "unguided",
        "sequential",
        "differential",
    )
    force_guidance: bool = Field(
        False, description="guide also by a classifier that failed its audio-swap gate"
    )
    long_video: Literal["chain", "sliding_window"] = Field(
        "chain", description="sliding_window: earlier methods' average of overlaps, unguided only"
    )
    cfg_scale: float = Field(1.0, ge=0)
    clips: int = Field(16, ge=1, description="held-out clips that are generated")
    max_frames: int = Field(375, ge=2)
    seed: int = 0

    @model_validator(mode="after")
    def _baseline(self) -> GenerationConfig:
        if self.long_video == "sliding_window" and self.modes != ("unguided",):
            raise ValueError("long_video sliding_window goes with modes: [unguided] alone")
        return self


class SuiteConfig(Section):
    """The paper's tables (`paha benchmark`): what each of their rows is generated from."""

    seeds: int = Field(3, ge=1, description="noises of each clip; the paper's tables need 3")
    clips: int = Field(0, ge=0, description="held-out clips; 0: as many as generation.clips")


class BenchmarkConfig(Section):
    """Metrics. A metric whose weights are not given is a missing cell, never another's number."""

    pose_autoencoder_steps: int = Field(2000, ge=1)
    bootstrap: int = Field(1000, ge=10)
    seed: int = 0
    syncnet: str | None = Field(None, description="path of SyncNet's weights: Sync-C, Sync-D")
    i3d: str | None = Field(None, description="path of I3D's TorchScript file: FVD")
    arcface: str | None = Field(None, description="path of an ArcFace ONNX file: identity")
    min_track: int = Field(50, ge=7, description="frames of the shortest face track for Sync-C")
    min_face: int = Field(48, ge=8, description="pixels of the smallest tracked face, clip size")
    video_references: int = Field(512, ge=2, description="real training clips that FVD looks at")
    suite: SuiteConfig = SuiteConfig()
