"""The one tiny UniVDM of the tests: the real class at the smallest sizes that use all its parts."""

import torch

from paha_core.models.univdm import UniVDM

TINY = {
    "block_out_channels": (8, 16),
    "attention_levels": (True, True),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "input_heads": 1,
    "cross_attention_dim": 8,
    "norm_num_groups": 4,
    "reference_width": 6,
    "audio_layers": 1,
    "audio_width": 4,
    "audio_tokens": 2,
    "audio_dim": 8,
    "audio_hidden": 8,
}


def tiny_univdm(seed=0, **changes):
    """A UniVDM with random weights of that seed; `changes` replace sizes."""
    torch.manual_seed(seed)
    return UniVDM(**TINY | changes)
