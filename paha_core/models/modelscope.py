"""The original layout of the base network (`UNetSD`), as ModelScope, VideoComposer and UniAnimate
save it, to diffusers' names.

Both are the same network. UNetSD numbers its blocks in one row (`input_blocks.0` to `.11`,
`output_blocks.0` to `.11`), each a list of a residual block (with its temporal convolution, spelled
`temopral_conv`), a spatial and a temporal transformer, and now and then a change of scale. The
mapping is derived from the keys themselves, so any depth and width can be converted. Conditions
that UNetSD's descendants add (poses, sketches, their image tokens) have no counterpart here: they
are reported and left out. Of a wider first convolution only the 4 channels of the noisy latents are
kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet3DConditionModel

from paha_core.errors import UserError
from paha_core.local_files import published
from paha_core.models.weight_files import WEIGHTS, read_state

HEAD_DIM = 64  # of every network of this family; weights do not show it
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
PLAIN = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "input_blocks.0.1": "transformer_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
StateDict = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Converted:
    """A network in diffusers' layout, and the keys that were left out."""

    state: StateDict
    config: dict[str, Any]
    left_out: list[str]


def convert(state: StateDict, latent_channels: int = 4) -> Converted:
    """A `UNetSD` state dict under the names of `UNet3DConditionModel`.

    Raises `UserError` when it is not a UNetSD.
    """
    if "input_blocks.0.0.weight" not in state or "middle_block.0.in_layers.0.weight" not in state:
        raise UserError(
            "this is not the UNetSD layout: there is no input_blocks.0.0 or no middle_block.0"
        )
    prefixes = dict(_prefixes(state))
    renamed: StateDict = {}
    left_out = []
    for name, value in state.items():
        target = _renamed(name, prefixes)
        if target is None:
            left_out.append(name)
            continue
        if value.ndim == 3 and target.endswith(("proj_in.weight", "proj_out.weight")):
            value = value[..., 0]  # a convolution of width 1 over frames
        renamed[target] = value.contiguous()
    renamed["conv_in.weight"] = renamed["conv_in.weight"][:, :latent_channels].contiguous()
    try:
        return Converted(renamed, _config(renamed), sorted(left_out))
    except (KeyError, IndexError) as error:
        raise UserError(f"this is not a whole UNetSD: {error} is missing") from error


def convert_file(source: str | Path, folder: str | Path) -> Converted:
    """Convert a `.pth` or `.safetensors` file to a diffusers folder with `config.json`.

    Raises `FileNotFoundError`, or `UserError` when the file is not of this layout or its tensors
    do not make a whole network.
    """
    from safetensors.torch import save_file

    made = convert(read_state(Path(source)))
    with torch.device("meta"):
        network = UNet3DConditionModel(**made.config)
    expected = {name: value.shape for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in made.state.items()}
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if wrong:
        raise UserError(f"{source} is not a whole UNetSD; these keys do not fit: {wrong[:5]}")
    with published(Path(folder) / WEIGHTS) as temporary:
        save_file(made.state, temporary, metadata={"format": "pt"})
        network.save_config(folder)
    return made


def _renamed(name: str, prefixes: dict[str, str]) -> str | None:
    """diffusers' name of a UNetSD key; None for one that is not the base network's."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in prefixes:
            return f"{prefixes[prefix]}.{'.'.join(parts[length:])}"
    return None


def _prefixes(state: StateDict) -> Iterator[tuple[str, str]]:
    """Each module of UNetSD with diffusers' name for it."""
    yield from PLAIN.items()
    yield from _layer(state, "middle_block", "mid_block", parts=(0, 1, 2), layer=0)
    yield from _layer(state, "middle_block", "mid_block", parts=(3,), layer=1)
    yield from _blocks(state, "input_blocks", "down_blocks", first=1)
    yield from _blocks(state, "output_blocks", "up_blocks", first=0)


def _blocks(state: StateDict, source: str, target: str, first: int) -> Iterator[tuple[str, str]]:
    """A row of numbered blocks; a change of scale ends a level."""
    level = layer = 0
    for number in range(first, len(_numbers(state, source))):
        block = f"{source}.{number}"
        if f"{block}.op.weight" in state:
            yield f"{block}.op", f"{target}.{level}.downsamplers.0.conv"
            level, layer = level + 1, 0
            continue
        parts = _numbers(state, block)
        yield from _layer(state, block, f"{target}.{level}", parts, layer)
        layer += 1
        if f"{block}.{parts[-1]}.conv.weight" in state:
            yield f"{block}.{parts[-1]}.conv", f"{target}.{level}.upsamplers.0.conv"
            level, layer = level + 1, 0


def _layer(
    state: StateDict, block: str, target: str, parts: Iterable[int], layer: int
) -> Iterator[tuple[str, str]]:
    """A residual block with its temporal convolution; the first transformer is spatial."""
    transformers = iter(("attentions", "temp_attentions"))
    for part in parts:
        source = f"{block}.{part}"
        if f"{source}.in_layers.0.weight" in state:
            for old, new in RESIDUAL.items():
                yield f"{source}.{old}", f"{target}.resnets.{layer}.{new}"
            yield f"{source}.temopral_conv", f"{target}.temp_convs.{layer}"
        elif f"{source}.proj_in.weight" in state:
            yield source, f"{target}.{next(transformers, 'attentions')}.{layer}"


def _numbers(state: StateDict, prefix: str) -> list[int]:
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return sorted({int(match[1]) for name in state if (match := pattern.match(name))})


def _config(state: StateDict) -> dict[str, Any]:
    """The constructor's arguments, read off the tensors' shapes."""
    levels = len(_numbers(state, "down_blocks"))
    attends = [f"down_blocks.{i}.attentions.0.norm.weight" in state for i in range(levels)]
    channels = [state[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels)]
    context = state["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"]
    return {
        "in_channels": state["conv_in.weight"].shape[1],
        "out_channels": state["conv_out.weight"].shape[0],
        "down_block_types": ["CrossAttnDownBlock3D" if a else "DownBlock3D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock3D" if a else "UpBlock3D" for a in attends[::-1]],
        "block_out_channels": channels,
        "layers_per_block": len(_numbers(state, "down_blocks.0.resnets")),
        "cross_attention_dim": context.shape[1],
        "attention_head_dim": HEAD_DIM,
    }
