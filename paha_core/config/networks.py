"""The sections of the networks and of their training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from paha_core.config.base import Precision, Section
from paha_core.config.encoders import AUDIO_ENCODERS, REFERENCE_ENCODERS, entry_of
from paha_core.errors import UserError


class TrainConfig(Section):
    """One network's training; the defaults are the paper's for UniVDM."""

    outside = frozenset(
        {"micro_batch", "replicas", "checkpoint_every", "keep", "validate_every", "max_bad_steps"}
    )
    # May change during training: a run resumes with another schedule.
    schedule: ClassVar[tuple[str, ...]] = ("steps", "learning_rate", "warmup", "decay")

    steps: int = Field(100_000, ge=1)
    batch: int = Field(8, ge=1, description="samples of a step, over all processes")
    micro_batch: int | None = Field(
        None, ge=1, description="of them in one forward pass of a process; null: its whole share"
    )
    learning_rate: float = Field(5e-5, gt=0)
    warmup: int = Field(0, ge=0)
    decay: Literal["constant", "cosine"] = "constant"
    weight_decay: float = Field(1e-2, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    replicas: int = Field(1, ge=1, description="micro-batches in parallel, one CPU thread each")
    ema: float = Field(0.9999, ge=0, lt=1, description="0 turns the moving average off")
    checkpoint_every: int = Field(1000, ge=1)
    keep: int = Field(2, ge=1)
    validate_every: int = Field(1000, ge=1)
    max_bad_steps: int = Field(
        20, ge=0, description="non-finite steps that are skipped, in a row or up to 1 % in all"
    )
    seed: int = 0

    @model_validator(mode="after")
    def _parts(self) -> TrainConfig:
        micro = self.micro_batch or self.batch
        if self.batch % (micro * self.replicas):
            raise ValueError(
                f"batch {self.batch} is not a multiple of {micro} at once times {self.replicas} "
                "replicas"
            )
        return self

    def shares(self, processes: int = 1) -> tuple[int, int]:
        """The micro-batch of each of `processes`, and the number of micro-batches in a step.

        Raises `UserError` where the batch can't be divided so.
        """
        micro = self.micro_batch or max(1, self.batch // processes)
        times, rest = divmod(self.batch, processes * micro)
        if rest:
            raise UserError(
                f"{processes} processes that take {micro} at once can't share a batch of "
                f"{self.batch}: it must be a multiple of their number times train.micro_batch"
            )
        return micro, times


class WindowTrainConfig(TrainConfig):
    """Training settings for fixed-length windows; the classifiers' lengths are the negatives'."""

    frames: int = Field(32, ge=2)


class TrainerConfig(Section):
    """Runtime settings of training and its log; they do not affect the result."""

    processes: int = Field(
        1,
        ge=0,
        description="of each training on this host, one a GPU; 0: one for each GPU",
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16: automatic mixed precision; weights and optimizer stay float32"
    )
    compile: bool = Field(
        False, description="torch.compile of the repeated blocks; needs a C++ compiler"
    )
    shard_optimizer: bool = Field(
        False, description="ZeRO-1: each process keeps only its share of the optimizer's moments"
    )
    optimizer_bits: Literal[32, 8] = Field(
        32, description="of AdamW's moments; 8 needs bitsandbytes, pip install 'paha[adam8bit]'"
    )
    keep_every: int = Field(
        0, ge=0, description="checkpoints at multiples of this step are kept for good; 0: none"
    )
    grace_seconds: float = Field(
        600.0, gt=0, description="until SIGKILL, for a trainer to save a checkpoint after SIGTERM"
    )
    log_every: int = Field(10, ge=1, description="steps between lines of the log")
    tensorboard: bool = True
    mlflow: str = Field(
        "", description="tracking URI of an MLflow server, or a folder, that gets the metrics too"
    )
    validation_windows: int = Field(16, ge=1, description="held-out windows of each validation")
    strips: int = Field(
        0, ge=0, description="held-out windows of the sample pictures at each validation; 0: none"
    )


class PretrainedSection(Section):
    """A network that may come from elsewhere. `revision` and `sha256` pin it: a stage that finds
    other weights is refused before it runs."""

    outside = frozenset({"revision", "sha256"})

    pretrained: str | None = Field(None, description="local folder, or hub id in the hub's cache")
    revision: str | None = Field(None, description="commit that the weights are of")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="of the weights' file in the folder"
    )


class CodecConfig(PretrainedSection):
    """The latent codec: SD's AutoencoderKL from `pretrained`, or a small one trained here."""

    outside = PretrainedSection.outside | {"batch"}
    added = frozenset(
        {"architecture", "latent_noise", "crop", "edge_weight", "contrast_weight", "scale_power"}
    )

    size: int = Field(512, ge=32, description="side of the model's frames in pixels")
    architecture: Literal["autoencoder_kl", "patch"] = Field(
        "autoencoder_kl",
        description="of one trained here; patch: principal components of patches and a residual "
        "network, which a CPU trains much faster",
    )
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = Field(2, ge=1)
    latent_channels: int = Field(4, ge=1)
    patch: int = Field(1, ge=1, description="pixels a side folded into channels before the network")
    norm_groups: int = Field(32, ge=1)
    par_power: float = Field(0.5, ge=0, le=1, description="exponent of PAR's M in its loss")
    kl_weight: float = Field(1e-5, ge=0)
    latent_noise: float = Field(
        0.0, ge=0, description="deviation of latents that the decoder learns to bear (patch)"
    )
    crop: int | None = Field(
        None,
        ge=32,
        description="side in pixels of the crops it learns from, drawn by PAR's M; "
        "null: whole frames",
    )
    edge_weight: float = Field(
        0.0, ge=0, description="of the error of differences between neighbouring pixels"
    )
    contrast_weight: float = Field(
        0.0, ge=0, description="of the error of local contrast, which keeps edges sharp"
    )
    scale_power: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of a latent channel's part in the picture, in its scale (patch); 0: all "
        "channels have unit variance",
    )
    max_frames: int = Field(20_000, ge=64, description="frames of the corpus it is trained on")
    batch: int = Field(
        32, ge=1, description="frames encoded or decoded at once: what memory allows"
    )
    train: TrainConfig = TrainConfig(
        steps=20_000, batch=16, learning_rate=1e-3, warmup=20, decay="cosine"
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
            raise ValueError(f"codec.size {self.size} is not a multiple of {self.factor}")
        if self.scale_power and self.architecture != "patch":
            raise ValueError("codec.scale_power needs codec.architecture patch")
        if self.crop is not None and (self.crop % self.factor or self.crop > self.size):
            raise ValueError(
                f"codec.crop {self.crop} must be a multiple of {self.factor} up to {self.size}"
            )
        return self


class AudioConfig(PretrainedSection):
    """Audio features at 25 fps; A(f) gathers `margin` frames on each side."""

    encoder: str = "wav2vec2"
    by_dataset: dict[str, str] = Field(
        {}, description="weights for a data set in another language: {cnas: a Mandarin wav2vec2}"
    )
    margin: int = Field(2, ge=0)  # m

    def for_dataset(self, dataset: str) -> AudioConfig:
        """The settings of one data set's audio."""
        if dataset not in self.by_dataset:
            return self
        own = {"pretrained": self.by_dataset[dataset], "revision": None, "sha256": None}
        return self.model_copy(update=own)

    @model_validator(mode="after")
    def _known(self) -> AudioConfig:
        entry = entry_of(self.encoder, AUDIO_ENCODERS)
        if self.by_dataset and not entry.needs_weights:
            raise ValueError(f"by_dataset names weights, but {self.encoder} has none")
        return self


class ReferenceConfig(PretrainedSection):
    """The encoder of the reference picture for cross-attention."""

    encoder: str = "clip"

    @model_validator(mode="after")
    def _known(self) -> ReferenceConfig:
        entry_of(self.encoder, REFERENCE_ENCODERS)
        return self


class NetworkConfig(PretrainedSection):
    """UniVDM's size; the defaults are the ModelScope text-to-video 1.7b network."""

    outside = PretrainedSection.outside | {"pretrained"}
    added = frozenset({"reference_skip"})

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
    reference_skip: bool = Field(
        False, description="predict new content on the reference picture (prediction: sample)"
    )


class UniVDMConfig(Section):
    """The generator: its network, its training and its noise."""

    outside = frozenset({"gradient_checkpointing"})

    network: NetworkConfig = NetworkConfig()
    train: WindowTrainConfig = WindowTrainConfig()
    par: bool = True
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
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
        if self.network.reference_skip and self.prediction != "sample":
            raise ValueError("univdm.network.reference_skip needs univdm.prediction sample")
        return self


class FastConfig(Section):
    """`univdm_fast`, a student of UniVDM with fewer steps: by progressive distillation, each of its
    DDIM steps ends where several of its teacher's do (`training/tasks/fast.py`)."""

    steps: int = Field(8, ge=1, le=100, description="of the student, which takes no other number")
    teacher_steps: int = Field(4, ge=1, description="of the teacher for one of the student's")
    train: WindowTrainConfig = WindowTrainConfig(
        steps=20_000, learning_rate=1e-5, warmup=500, decay="cosine", ema=0.999
    )


class NegativeConfig(Section):
    """Self-distilled negatives, from the checkpoint at the share `at` of the training."""

    at: float = Field(0.6, gt=0, le=1)
    ddim_steps: int = Field(30, ge=1)
    lengths: tuple[int, ...] = (30, 60, 90, 120)
    count: int = Field(50_000, ge=1)
    augment: bool = Field(
        True, description="random reference and length; false is the paper's ablation"
    )
    batch: int = Field(8, ge=1, description="generated side by side: what memory allows")
    precision: Precision = "fp32"
    compile: bool = Field(False, description="torch.compile of UniVDM's repeated blocks")
    seed: int = 0

    def lengths_within(self, longest: int) -> tuple[int, ...]:
        """The lengths up to `longest` frames; without augmentation only the longest of them."""
        fitting = tuple(n for n in sorted(set(self.lengths)) if n <= longest)
        return fitting if self.augment else fitting[-1:]


class ClassifierConfig(Section):
    """The face and the non-face classifier: their size, their training, their masks."""

    outside = frozenset({"gate_windows"})
    train: TrainConfig = TrainConfig(batch=16, learning_rate=1e-4, warmup=5000)
    datasets: tuple[str, ...] | None = Field(
        None, min_length=1, description="corpora that they are trained on; null: all of the preset"
    )
    mask_probability: float = Field(0.8, ge=0, le=1)
    mismatched_audio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the negatives that are real video with the sound of another moment",
    )
    mismatched_below: int = Field(
        1000, ge=1, le=1000, description="timesteps of those are below this"
    )
    gate_windows: int = Field(
        64, ge=8, multiple_of=8, description="windows of held-out clips in the audio-swap gate"
    )
    width: int = Field(512, ge=8)
    layers: int = Field(4, ge=1)
    heads: int = Field(8, ge=1)
    max_frames: int = Field(
        128, ge=2, description="length of the temporal encoding: the longest clip or segment"
    )

    @model_validator(mode="after")
    def _pairs(self) -> ClassifierConfig:
        if self.train.batch % 2:
            raise ValueError("classifiers.train.batch counts both halves of pairs: make it even")
        return self
