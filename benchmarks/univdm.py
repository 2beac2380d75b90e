"""UniVDM against diffusers' UNet3DConditionModel of equal size: forward and training step.

    python benchmarks/univdm.py

Medians of several rounds that take turns, so that a busy machine disturbs all alike. The rival sees
one frame more, because UniVDM carries the reference as one.
"""

import statistics
import time

import torch
from diffusers import UNet3DConditionModel

from paha_core.models.univdm import UniVDM, network_input
from paha_core.training.univdm import par_loss

BATCH, FRAMES, SIZE, ROUNDS = 2, 16, 8, 7
CHANNELS, HEAD = (32, 64), 8


def rival() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    model = UNet3DConditionModel(
        in_channels=9,
        down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        attention_head_dim=HEAD,
        cross_attention_dim=64,
        norm_num_groups=8,
    )
    return model, {
        "sample": torch.randn(BATCH, 9, FRAMES + 1, SIZE, SIZE),
        "timestep": torch.randint(1000, (BATCH,)),
        "encoder_hidden_states": torch.randn(BATCH, 4, 64),
    }


def ours(with_audio: bool) -> tuple[torch.nn.Module, dict[str, torch.Tensor | None]]:
    model = UniVDM(
        block_out_channels=CHANNELS,
        attention_levels=(True, True),
        layers_per_block=1,
        attention_head_dim=HEAD,
        cross_attention_dim=64,
        norm_num_groups=8,
        reference_width=192,
        audio_layers=4,
        audio_width=40,
        audio_tokens=4,
        audio_dim=64,
        audio_hidden=128,
    )
    return model, {
        "sample": network_input(torch.randn(BATCH, 4, FRAMES, SIZE, SIZE), None),
        "timestep": torch.randint(1000, (BATCH,)),
        "reference_latents": torch.randn(BATCH, 4, SIZE, SIZE),
        "reference_embedding": torch.randn(BATCH, 192),
        "audio": torch.randn(BATCH, FRAMES, 5, 4, 40) if with_audio else None,
    }


def predicted(model: torch.nn.Module, inputs: dict) -> torch.Tensor:
    made = model(**inputs)
    return made if isinstance(made, torch.Tensor) else made.sample


def forward(model: torch.nn.Module, inputs: dict) -> None:
    with torch.no_grad():
        predicted(model, inputs)


def train(model: torch.nn.Module, inputs: dict) -> None:
    squared = predicted(model, inputs).square().mean(dim=1)
    par_loss(squared, torch.ones_like(squared)).backward()
    model.zero_grad(set_to_none=True)


def main() -> None:
    torch.manual_seed(0)
    cases = {"UNet3D": rival(), "UniVDM, no audio": ours(False), "UniVDM": ours(True)}
    print(f"batch {BATCH}, {FRAMES} frames, {SIZE}x{SIZE}, {torch.get_num_threads()} threads")
    for what, work in (("forward", forward), ("training step", train)):
        times: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(ROUNDS + 1):
            for name, (model, inputs) in cases.items():
                started = time.perf_counter()
                work(model, inputs)
                if turn:  # the first round warms up
                    times[name].append(time.perf_counter() - started)
        base = statistics.median(times["UNet3D"])
        for name, values in times.items():
            middle = statistics.median(values)
            print(f"{what:14} {name:18} {1000 * middle:8.1f} ms   {middle / base:5.2f} x")


if __name__ == "__main__":
    main()
