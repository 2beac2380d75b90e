"""The sections of the networks and of their training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from paha_core.config.base import Section


class TrainConfig(Section):
    """One network's training; the defaults are the paper's for UniVDM."""

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
    """Who encodes the reference picture for cross-attention."""

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
    """The generator: its network, its training and its noise."""

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
    """The face and the non-face classifier: their size, their training, what is masked."""

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
