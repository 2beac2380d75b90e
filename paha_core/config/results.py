"""The sections of generation and benchmark."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from paha_core.config.base import Precision, Section, Weights

GuidedMode = Literal["sequential", "differential"]
Mode = Literal["unguided", GuidedMode]
MODES: tuple[Mode, ...] = ("unguided", *get_args(GuidedMode))
Form = Literal["residual", "residual_printed_masks", "printed"]
"""How equation 12 is read (`inference/guidance.py`)."""
FORMS: tuple[Form, ...] = get_args(Form)
Solver = Literal["ddim", "dpm++2m", "unipc"]
"""What goes from one noise level to the next (`inference/solvers.py`); DDIM is the paper's."""
RENAMED = {"face": "lambda_face", "non_face": "lambda_non_face", "differential": "lambda_diff"}


class GuidanceStrengths(Section):
    """The strengths of equations 8, 9 and 12."""

    lambda_face: float = Field(0.1, ge=0)
    lambda_non_face: float = Field(1.0, ge=0)
    lambda_diff: float = Field(0.25, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        for old, new in RENAMED.items():
            if isinstance(values, dict) and old in values:
                raise ValueError(f"the key {old} is now {new}: rename it")
        return values


class GuidanceConfig(GuidanceStrengths):
    """Equations 8-12 and algorithm 1."""

    rate: float = Field(0.5, ge=0, le=1)  # r of algorithm 1
    form: Form = Field("residual", description="of equation 12; the others are for comparison")

    def changed(
        self,
        *,
        lambda_face: float | None = None,
        lambda_non_face: float | None = None,
        lambda_diff: float | None = None,
        rate: float | None = None,
        form: Form | None = None,
    ) -> GuidanceConfig:
        """A copy with the values that are not None, checked like a preset's."""
        changes = {
            "lambda_face": lambda_face,
            "lambda_non_face": lambda_non_face,
            "lambda_diff": lambda_diff,
            "rate": rate,
            "form": form,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        return GuidanceConfig(**self.model_dump() | given)

    def guided_steps(self, ddim_steps: int) -> int:
        """How many of the first steps are guided; halves up, as algorithm 1 counts n from N - 1
        to (N - 1)(1 - r)."""
        return math.floor(self.rate * ddim_steps + 0.5)

    def effective_settings(self, mode: Mode, num_inference_steps: int) -> dict[str, Any]:
        """The settings that a video of that mode depends on: two guidances that are equal here
        make the same video. Empty where no step is guided."""
        steps = self.guided_steps(num_inference_steps)
        if mode == "unguided" or not steps:
            return {}
        names = ["lambda_face", "lambda_non_face"]
        if mode == "differential":
            names += ["lambda_diff", "form"]
        return {"mode": mode, "steps": steps} | {name: getattr(self, name) for name in names}


class GenerationConfig(Section):
    """How videos are sampled: steps, segments, guidance, and the modes for held-out voices."""

    ddim_steps: int = Field(30, ge=1, description="steps of the solver, whichever it is")
    solver: Solver = "ddim"
    fast: bool = Field(
        False, description="by univdm_fast, which takes fast.steps steps of DDIM, and no CFG"
    )
    segment_frames: int = Field(32, ge=2)
    guidance: GuidanceConfig = GuidanceConfig()
    modes: tuple[Mode, ...] = MODES
    force_guidance: bool = Field(
        False, description="guide also by a classifier that failed its audio-swap gate"
    )
    long_video: Literal["chain", "sliding_window"] = Field(
        "chain", description="sliding_window: earlier methods' average of overlaps, unguided only"
    )
    cfg_scale: float = Field(1.0, ge=0)
    precision: Precision = Field("fp32", description="of UniVDM and the classifiers")
    weights: Weights = Field(
        "fp32", description="what they are held in: int8 is a quarter of the memory, and rounds"
    )
    compile: bool = Field(
        False,
        description="torch.compile of the repeated blocks of UniVDM and the classifiers; needs a "
        "C++ compiler",
    )
    size: int | None = Field(
        None,
        ge=32,
        description="side in pixels of held-out videos, as generated, timed and evaluated; null: "
        "generated at codec.size, evaluated at corpora.clip.size",
    )
    gradient_checkpointing: bool = Field(
        False, description="guidance recomputes the classifiers' activations to save memory"
    )
    offload: bool = Field(
        False, description="keep codec and encoders in host memory while they are not used"
    )
    offload_layers: bool = Field(
        False,
        description="keep UniVDM's layers in host memory as well, each but for its own forward "
        "pass: for cards that do not hold the network; needs CUDA",
    )
    clips: int = Field(16, ge=0, description="held-out clips of each data set; 0: all of them")
    batch: int = Field(8, ge=1, description="clips generated side by side: what memory allows")
    max_frames: int = Field(375, ge=2)
    seed: int = 0

    @property
    def recomputes(self) -> bool:
        """Whether guidance recomputes the classifiers' activations: always with int8 weights, which
        their backward pass would else keep as float32."""
        return self.gradient_checkpointing or self.weights == "int8"

    def settings(self) -> dict[str, Any]:
        """As every section's, but for the solver, the network and the weights that all videos had
        before there was a choice: their fingerprints stay."""
        found = super().settings()
        for name, first in (("solver", "ddim"), ("weights", "fp32")):
            if found[name] == first:
                del found[name]
        for name in ("fast", "offload_layers", "compile"):
            if not found[name]:
                del found[name]
        return found

    @model_validator(mode="after")
    def _whole_layers(self) -> GenerationConfig:
        if self.compile and self.offload_layers:
            raise ValueError("compile and offload_layers do not go together: choose one of them")
        return self

    @model_validator(mode="after")
    def _baseline(self) -> GenerationConfig:
        if self.long_video == "sliding_window" and self.modes != ("unguided",):
            raise ValueError("long_video sliding_window goes with modes: [unguided] alone")
        return self


class SuiteStrengths(GuidanceStrengths):
    """The strengths that the rows of the paper's tables share; a row that sweeps one multiplies
    it. None may be 0: the rows of its sweep would be the same run."""

    lambda_face: float = Field(0.1, gt=0)
    lambda_non_face: float = Field(1.0, gt=0)
    lambda_diff: float = Field(0.25, gt=0)


class SuiteConfig(Section):
    """The paper's tables (`paha benchmark`): what each of their rows is generated from."""

    guidance: SuiteStrengths = SuiteStrengths()
    seeds: int = Field(3, ge=1, description="noises of each clip; the paper's tables need 3")
    clips: int = Field(0, ge=0, description="clips of each data set; 0: as generation.clips")
    max_frames: int = Field(0, ge=0, description="of each clip; 0: as generation.max_frames")


class BenchmarkConfig(Section):
    """Metrics. One whose weights are not given is a missing cell, never a stand-in's number."""

    pose_autoencoder_steps: int = Field(
        2000, ge=1, description="training steps of the feature extractor of FGD and Diversity"
    )
    pose_window: int = Field(
        34,
        ge=8,
        multiple_of=2,
        description="frames at 15 fps of a window of FGD and Diversity; clips may allow fewer",
    )
    video_encoder_steps: int = Field(
        2000, ge=1, description="training steps of the feature extractor of FVD's stand-in"
    )
    bootstrap: int = Field(1000, ge=10)
    seed: int = 0
    syncnet: str | None = Field(None, description="path of SyncNet's weights: Sync-C, Sync-D")
    i3d: str | None = Field(None, description="path of I3D's TorchScript file: FVD")
    inception: str | None = Field(
        None, description="path of the TorchScript file of Inception v3 (2015): FID"
    )
    lpips: str | None = Field(None, description="path of LPIPS VGG16's TorchScript file: LPIPS")
    arcface: str | None = Field(None, description="path of an ArcFace ONNX file: identity")
    min_track: int = Field(50, ge=7, description="frames of the shortest face track for Sync-C")
    min_face: int = Field(48, ge=8, description="pixels of the smallest tracked face, clip size")
    time_repeats: int = Field(6, ge=1, description="segments timed for TC; below 6 no verdict")
    video_references: int = Field(
        512, ge=2, description="real training clips that FVD compares with"
    )
    suite: SuiteConfig = SuiteConfig()
