"""The typed form of a preset: every number of a run, checked before anything starts.

A preset is one yaml file (`paha_core/presets/*.yaml`, or a path). Unknown keys and wrong values are
refused by name. Keys that are symbols in the paper carry the symbol in a comment.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class PresetError(ValueError):
    """A preset that can't be used; the message names each bad key."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def settings(self) -> dict[str, Any]:
        """The section as plain JSON: what a stage's fingerprint is made of."""
        return self.model_dump(mode="json")


# --- data -----------------------------------------------------------------------------------------


class StudioConfig(Section):
    """The embedded corpus of drawn presenters (English in PATS form, Mandarin in CNAS form)."""

    programmes: int = Field(2, ge=1, description="programmes for each of the identities")
    seconds: float = Field(20.0, gt=2, description="approximate length of a programme")
    height: int = Field(512, ge=128, description="frame height in pixels; frames are 16:9")
    seed: int = 0


class ClipConfig(Section):
    """What every kept clip looks like."""

    size: int = Field(512, ge=64, description="side of the square clip in pixels")
    fps: int = Field(
        25, ge=25, le=25, description="the model's frame rate; audio windows assume it"
    )
    max_source_seconds: float = Field(7200.0, gt=0)
    max_source_bytes: int = Field(8 << 30, gt=0)
    cache_bytes: int = Field(
        20 << 30, gt=0, description="local copies of sources that lie in an object store"
    )
    timeout_seconds: float = Field(600.0, gt=0, description="limit for one ffmpeg call")
    crf: int = Field(
        12, ge=0, le=30, description="x264 quality of stored clips; 12 is visually lossless"
    )


class PatsConfig(Section):
    """Clips from PATS's own interval csv. Null paths: the studio corpus' English programmes."""

    csv: str | None = None
    videos: str | None = None
    split_file: str | None = Field(
        None, description="S2G's json; null: the csv's own `dataset` column"
    )
    split: Literal["paper", "by_video"] = "paper"
    min_seconds: float = Field(4.0, gt=0)
    max_seconds: float = Field(15.0, gt=0)
    too_long: Literal["cut", "reject"] = Field(
        "cut", description="cut: the first `max_seconds` of a longer interval, as S2G takes them"
    )
    min_face_share: float = Field(
        0.5, ge=0, le=1, description="share of probed frames with a whole face"
    )


class CnasConfig(Section):
    """Clips from raw anchor programmes. A null path: the studio corpus' Mandarin programmes."""

    programmes: str | None = None
    clip_frames: int = Field(125, ge=8)
    test_share: float = Field(
        0.1, ge=0, lt=1, description="share of programmes, not clips, held out"
    )
    region: tuple[int, int] = Field((512, 896), description="height and width around the anchor")
    # The filters' thresholds: null turns a filter off.
    min_speech_db: float | None = Field(
        -50.0, description="clips quieter than this mean level are rejected"
    )
    max_clipped_share: float | None = Field(
        0.001, ge=0, le=1, description="share of samples at full scale"
    )
    max_frame_change: float | None = Field(
        30.0, gt=0, description="mean change of grey, 0-255, beyond which a scene switches"
    )
    min_face_share: float | None = Field(
        0.9, ge=0, le=1, description="share of probed frames with a whole face"
    )
    max_crowd_share: float | None = Field(
        0.1, ge=0, le=1, description="share of probed frames with more than one face"
    )
    min_body_share: float | None = Field(
        0.9, ge=0, le=1, description="share of probed frames with both shoulders"
    )
    min_hand_share: float | None = Field(
        0.5, ge=0, le=1, description="share of probed frames with a hand"
    )
    min_speech_share: float | None = Field(
        0.5, ge=0, le=1, description="share of the time that holds speech (Silero VAD)"
    )
    min_dnsmos: float | None = Field(
        2.0, ge=1, le=5, description="overall quality of the speech (DNSMOS P.835 OVRL)"
    )


class CorporaConfig(Section):
    studio: StudioConfig | None = None
    clip: ClipConfig = ClipConfig()
    pats: PatsConfig | None = None
    cnas: CnasConfig | None = None

    @property
    def datasets(self) -> list[str]:
        return [name for name in ("pats", "cnas") if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _has_sources(self) -> CorporaConfig:
        if not self.datasets:
            raise ValueError("corpora needs `pats`, `cnas` or both")
        if self.studio is None:
            if self.pats and not (self.pats.csv and self.pats.videos):
                raise ValueError("corpora.pats needs `csv` and `videos` when there is no `studio`")
            if self.cnas and not self.cnas.programmes:
                raise ValueError("corpora.cnas needs `programmes` when there is no `studio`")
        return self


class PoseConfig(Section):
    """Whole-body keypoints and face boxes (DESIGN 5)."""

    detector: Literal["mediapipe", "dwpose"] = "mediapipe"
    dwpose_pose: str | None = Field(None, description="path or URL of the DWPose-l 384x288 ONNX")
    dwpose_person: str | None = Field(None, description="path or URL of the YOLOX ONNX file")
    device: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    batch: int = Field(16, ge=1, description="crops per network call (dwpose)")
    model_complexity: int = Field(
        1, ge=0, le=2, description="mediapipe's pose network: 0 light … 2 heavy"
    )
    face_box_scale: float = Field(1.2, ge=1)
    max_face_gap: int = Field(5, ge=0, description="frames of a face dropout that are bridged")
    face_source: Literal["auto", "mediapipe", "keypoints"] = Field(
        "auto", description="what face boxes come from; auto: keypoints if they are DWPose's"
    )

    @model_validator(mode="after")
    def _weights(self) -> PoseConfig:
        if self.detector == "dwpose" and not (self.dwpose_pose and self.dwpose_person):
            raise ValueError("pose.detector dwpose needs `dwpose_pose` and `dwpose_person`")
        return self

    @property
    def faces_from_keypoints(self) -> bool:
        """Whether face boxes are the extent of the 68 face points, and not MediaPipe's own."""
        if self.face_source == "auto":
            return self.detector == "dwpose"
        return self.face_source == "keypoints"


class ParConfig(Section):
    """Equations 2 and 3; pixel numbers are at 512x512 and scale with the clip."""

    threshold: float = Field(0.8, ge=0, lt=1)  # tau_j
    radius: float = Field(10.0, gt=0)  # r
    hand_face_weight: float = Field(10.0, gt=0)  # omega_1
    body_weight: float = Field(2.0, ge=1)  # omega_2
    cap: float | None = Field(
        None, gt=1, description="upper bound of the weight; the paper has none"
    )


class ShardConfig(Section):
    clips_per_shard: int = Field(64, ge=1)
    shard_bytes: int = Field(
        256 << 20, ge=1, description="a shard that has this many is full; the last clip may exceed"
    )
    reference_frames: int = Field(
        8, ge=1, description="frames of a clip with a stored image embedding"
    )
    on_bad_shard: Literal["stop", "skip"] = "stop"


# --- networks -------------------------------------------------------------------------------------


class TrainConfig(Section):
    steps: int = Field(100_000, ge=1)
    batch: int = Field(8, ge=1)
    frames: int = Field(32, ge=2)
    learning_rate: float = Field(5e-5, gt=0)
    warmup: int = Field(0, ge=0)
    decay: Literal["constant", "cosine"] = "constant"
    weight_decay: float = Field(1e-2, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    accumulate: int = Field(1, ge=1, description="micro-batches of `batch` clips in a step")
    replicas: int = Field(1, ge=1, description="micro-batches side by side, one CPU thread each")
    ema: float = Field(0.9999, ge=0, lt=1, description="0 turns the moving average off")
    checkpoint_every: int = Field(1000, ge=1)
    keep: int = Field(2, ge=1)
    validate_every: int = Field(1000, ge=1)
    max_bad_steps: int = Field(
        20, ge=0, description="non-finite steps that are skipped before it stops"
    )
    seed: int = 0

    @model_validator(mode="after")
    def _parts(self) -> TrainConfig:
        if self.accumulate % self.replicas:
            raise ValueError(
                f"accumulate {self.accumulate} is no multiple of {self.replicas} replicas"
            )
        return self


class TrainerConfig(Section):
    """How networks are trained on the machine at hand; what they become is set elsewhere."""

    processes: int = Field(
        1, ge=0, description="of UniVDM's training on this host, one a GPU; 0: one for each GPU"
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16: automatic mixed precision; weights and optimizer stay float32"
    )
    compile: bool = Field(False, description="torch.compile; needs a C++ compiler")
    keep_every: int = Field(
        0, ge=0, description="checkpoints at multiples of this step are kept for good; 0: none"
    )
    tensorboard: bool = True
    strips: int = Field(
        0, ge=0, description="held-out windows that are sampled as pictures at each validation"
    )


class CodecConfig(Section):
    """The latent codec: SD's AutoencoderKL from `pretrained`, or a small one of the corpus' own."""

    pretrained: str | None = None
    size: int = Field(512, ge=32, description="side of the model's frames in pixels")
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = Field(2, ge=1)
    latent_channels: int = Field(4, ge=1)
    patch: int = Field(1, ge=1, description="pixels a side folded into channels before the network")
    norm_groups: int = Field(32, ge=1)
    par_power: float = Field(0.5, ge=0, le=1, description="its loss is weighted by PAR's M to this")
    kl_weight: float = Field(1e-5, ge=0)
    max_frames: int = Field(20_000, ge=64, description="frames of the corpus it is trained on")
    train: TrainConfig = TrainConfig(
        steps=20_000, batch=16, frames=2, learning_rate=1e-3, warmup=20, decay="cosine"
    )

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return int(self.patch * 2 ** (len(self.block_out_channels) - 1))

    @property
    def latent_size(self) -> int:
        return self.size // self.factor

    @model_validator(mode="after")
    def _divides(self) -> CodecConfig:
        if self.size % self.factor:
            raise ValueError(f"codec.size {self.size} is no multiple of {self.factor}")
        return self


class AudioConfig(Section):
    """Audio features at 25 fps; A(f) gathers `margin` frames on each side."""

    encoder: Literal["wav2vec2", "log_mel"] = "wav2vec2"
    pretrained: str | None = Field(
        None, description="local folder or hub id of the wav2vec2 weights"
    )
    margin: int = Field(2, ge=0)  # m


class ReferenceConfig(Section):
    encoder: Literal["clip", "pooled_pixels"] = "clip"
    pretrained: str | None = None


class NetworkConfig(Section):
    """UniVDM's size; the defaults are the ModelScope text-to-video 1.7b network."""

    pretrained: str | None = None
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    layers_per_block: int = 2
    attention_head_dim: int = 64
    input_heads: int = 8
    cross_attention_dim: int = 1024
    norm_groups: int = 32
    reference_tokens: int = 4
    audio_tokens: int = 32
    audio_dim: int = 768
    audio_hidden: int = 512


class UniVDMConfig(Section):
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    par: bool = True
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    zero_terminal_snr: bool = False
    first_frame_probability: float = Field(0.5, ge=0, le=1)
    condition_dropout: float = Field(0.1, ge=0, le=1)
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _noise(self) -> UniVDMConfig:
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise ValueError(
                "univdm.prediction epsilon can't go with zero_terminal_snr: "
                "its first DDIM step divides by zero"
            )
        return self


class NegativeConfig(Section):
    """Self-distilled negatives, from the checkpoint at `at` of the training: one a positive."""

    at: float = Field(0.6, gt=0, le=1)
    ddim_steps: int = Field(30, ge=1)
    lengths: tuple[int, ...] = (30, 60, 90, 120)
    count: int = Field(50_000, ge=1)
    augment: bool = Field(
        True, description="random reference and length; false is the paper's ablation"
    )
    batch: int = Field(8, ge=1)
    seed: int = 0


class ClassifierConfig(Section):
    train: TrainConfig = TrainConfig(batch=16, learning_rate=1e-4, warmup=5000)
    mask_probability: float = Field(0.8, ge=0, le=1)
    mismatched_audio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the negatives that are real video with the sound of another moment",
    )
    mismatched_below: int = Field(
        1000, ge=1, le=1000, description="and the timesteps they are noised at are below this"
    )
    width: int = Field(512, ge=8)
    layers: int = Field(4, ge=1)
    heads: int = Field(8, ge=1)


class GuidanceConfig(Section):
    """Equations 8-12 and algorithm 1."""

    face: float = Field(0.1, ge=0)  # lambda_face
    non_face: float = Field(1.0, ge=0)  # lambda_non-face
    differential: float = Field(0.25, ge=0)  # lambda_diff
    rate: float = Field(0.5, ge=0, le=1)  # r of algorithm 1
    form: Literal["residual", "printed"] = "residual"


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


class Preset(Section):
    name: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0, description="torch threads; 0 leaves torch's choice")
    workers: int = Field(0, ge=0, description="processes for per-clip work; 0: one per core")
    corpora: CorporaConfig
    pose: PoseConfig = PoseConfig()
    par: ParConfig = ParConfig()
    shards: ShardConfig = ShardConfig()
    codec: CodecConfig = CodecConfig()
    audio: AudioConfig = AudioConfig()
    reference: ReferenceConfig = ReferenceConfig()
    univdm: UniVDMConfig = UniVDMConfig()
    trainer: TrainerConfig = TrainerConfig()
    negatives: NegativeConfig = NegativeConfig()
    classifiers: ClassifierConfig = ClassifierConfig()
    generation: GenerationConfig = GenerationConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("paha_core") / "presets"
    return sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )


def load_preset(name: str | Path) -> Preset:
    """The preset of that name, or at that path. Raises `PresetError` naming each unknown key or
    wrong value.
    """
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise PresetError(f"no preset file {path}")
        text = path.read_text()
    elif str(name) in preset_names():
        text = (resources.files("paha_core") / "presets" / f"{name}.yaml").read_text()
    else:
        raise PresetError(
            f"no preset {name!r}: there are {', '.join(preset_names())}, or give a .yaml file"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PresetError(f"preset {name} is not yaml: {error}") from error
    if not isinstance(value, dict):
        raise PresetError(f"preset {name} is not a mapping of sections")
    try:
        return Preset(**value)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise PresetError(f"preset {name} can't be used:\n" + "\n".join(lines)) from None
