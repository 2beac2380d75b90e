"""Networks of a preset's sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from paha_core.config import ClassifierConfig, Preset
from paha_core.models.protocols import AudioEncoder, LatentCodec, ReferenceEncoder
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import UniVDM
from paha_core.models.weight_files import load_base_weights


@dataclass(frozen=True)
class Widths:
    """The sizes of a UniVDM that follow from its encoders."""

    latent_channels: int
    audio_layers: int
    audio_width: int
    reference_width: int

    @classmethod
    def of(cls, codec: LatentCodec, audio: AudioEncoder, reference: ReferenceEncoder) -> Widths:
        return cls(codec.channels, audio.layers, audio.width, reference.width)


def new_univdm(preset: Preset, widths: Widths) -> UniVDM:
    """A UniVDM of the preset's size: seeded, from the base weights if given."""
    torch.manual_seed(preset.univdm.train.seed)
    model = univdm_of(preset, widths)
    if preset.univdm.network.pretrained:
        load_base_weights(model, preset.univdm.network.pretrained)
    return model


def univdm_of(preset: Preset, widths: Widths) -> UniVDM:
    """A UniVDM of the preset's size, with default initialisation."""
    network = preset.univdm.network
    return UniVDM(
        latent_channels=widths.latent_channels,
        block_out_channels=network.block_out_channels,
        attention_levels=network.attention_levels,
        layers_per_block=network.layers_per_block,
        attention_head_dim=network.attention_head_dim,
        input_heads=network.input_heads,
        cross_attention_dim=network.cross_attention_dim,
        norm_num_groups=network.norm_groups,
        reference_width=widths.reference_width,
        reference_tokens=network.reference_tokens,
        audio_layers=widths.audio_layers,
        audio_width=widths.audio_width,
        audio_margin=preset.audio.margin,
        audio_tokens=network.audio_tokens,
        audio_dim=network.audio_dim,
        audio_hidden=network.audio_hidden,
        reference_skip=network.reference_skip,
    )


def new_classifier(config: ClassifierConfig, univdm: UniVDM) -> SyncClassifier:
    """A classifier of that size on the encoder of `univdm`."""
    return SyncClassifier.from_univdm(
        univdm,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        max_frames=config.max_frames,
    )
