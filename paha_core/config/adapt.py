"""The section of `paha adapt`: LoRA on UniVDM from minutes of one person's footage."""

from __future__ import annotations

from pydantic import Field

from paha_core.config.base import Section
from paha_core.config.data import CnasConfig
from paha_core.config.networks import WindowTrainConfig


class AdaptConfig(Section):
    """The adapter's size and training, and the filters of the footage."""

    rank: int = Field(4, ge=1)
    alpha: int = Field(4, ge=1, description="the adapter is scaled by alpha / rank")
    targets: tuple[str, ...] = Field(
        ("attentions", "audio_attentions", "temp_attentions"),
        min_length=1,
        description="module lists of UniVDM (models/univdm_blocks.py) whose layers are adapted",
    )
    held_out_share: float = Field(
        0.1, gt=0, lt=1, description="of the clips, the last ones: they are validated on"
    )
    prior_share: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="of the windows trained on, those that show other people, on whom the adapted "
        "network is to predict what the base does (training/tasks/prior.py)",
    )
    prior_samples: int = Field(
        32, ge=8, description="videos that the base samples for it where its training shards aren't"
    )
    footage: CnasConfig = CnasConfig(language="unknown")
    train: WindowTrainConfig = WindowTrainConfig(
        steps=1500,
        micro_batch=1,
        learning_rate=1e-4,
        warmup=100,
        decay="cosine",
        weight_decay=0,
        ema=0.99,
        checkpoint_every=100,
        validate_every=500,
    )
