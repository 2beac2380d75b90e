"""UniVDM against diffusers' UNet3DConditionModel of equal size: forward and training step. And the
PAR loss against the plain one, gradient checkpointing's memory and time, and clips of 8 to 128
frames.

    python benchmarks/univdm.py

Medians of several rounds that take turns, so that a busy machine disturbs all alike. diffusers'
network gets one more frame, because UniVDM has the reference as one. Memory is the most that a
step's own tensors take, traced (`paha_core.training.memory`).
"""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from diffusers import UNet3DConditionModel

from paha_core.models.univdm import UniVDM, network_input
from paha_core.training.memory import cost_of_step
from paha_core.training.tasks.univdm import par_loss

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


def ours(with_audio: bool, frames: int = FRAMES) -> tuple[torch.nn.Module, dict]:
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
        "sample": network_input(torch.randn(BATCH, 4, frames, SIZE, SIZE), None),
        "timestep": torch.randint(1000, (BATCH,)),
        "reference_latents": torch.randn(BATCH, 4, SIZE, SIZE),
        "reference_embedding": torch.randn(BATCH, 192),
        "audio": torch.randn(BATCH, frames, 5, 4, 40) if with_audio else None,
    }


def predicted(model: torch.nn.Module, inputs: dict) -> torch.Tensor:
    made = model(**inputs)
    return made if isinstance(made, torch.Tensor) else made.sample


def forward(model: torch.nn.Module, inputs: dict) -> None:
    with torch.no_grad():
        predicted(model, inputs)


def train(model: torch.nn.Module, inputs: dict, plain: bool = False) -> None:
    squared = predicted(model, inputs).square().mean(dim=1)
    loss = squared.mean() if plain else par_loss(squared, torch.ones_like(squared))
    loss.backward()
    model.zero_grad(set_to_none=True)


def medians(cases: Mapping[str, Callable[[], None]], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of each, taking turns; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, work in cases.items():
            started = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def print_times(what: str, seconds: dict[str, float], note: dict[str, str] | None = None) -> None:
    """Print each case with its ratio to the first."""
    base = next(iter(seconds.values()))
    for name, value in seconds.items():
        extra = (note or {}).get(name, "")
        print(f"{what:14} {name:22} {1000 * value:8.1f} ms   {value / base:5.2f} x   {extra}")


def checkpointed(on: bool) -> tuple[torch.nn.Module, dict]:
    model, inputs = ours(True)
    assert isinstance(model, UniVDM)
    if on:
        model.enable_gradient_checkpointing()
    return model.train(), inputs


def peak_mib(make: Callable[[], tuple[torch.nn.Module, dict]]) -> str:
    def make_step() -> Callable[[], object]:
        model, inputs = make()
        return lambda: train(model, inputs)

    return f"{cost_of_step(make_step).peak_bytes / 2**20:.1f} MiB"


def main() -> None:
    torch.manual_seed(0)
    cases = {"UNet3D": rival(), "UniVDM, no audio": ours(False), "UniVDM": ours(True)}
    print(f"batch {BATCH}, {FRAMES} frames, {SIZE}x{SIZE}, {torch.get_num_threads()} threads")
    for what, work in (("forward", forward), ("training step", train)):
        print_times(what, medians({name: partial(work, *case) for name, case in cases.items()}))

    network = cases["UniVDM"]
    losses = {name: partial(train, *network, plain=name == "plain") for name in ("plain", "PAR")}
    print_times("loss", medians(losses, 3 * ROUNDS))

    ways = {"all kept": False, "checkpointing": True}
    made = {name: checkpointed(on) for name, on in ways.items()}
    memory = {name: peak_mib(partial(checkpointed, on)) for name, on in ways.items()}
    print_times(
        "memory", medians({name: partial(train, *case) for name, case in made.items()}), memory
    )

    for frames in (8, 16, 32, 64, 128):
        model, inputs = ours(True, frames)
        seconds = medians({"": partial(train, model, inputs)}, 3)[""]
        peak = peak_mib(partial(ours, True, frames))
        print(f"{frames:4} frames {1000 * seconds / frames / BATCH:7.2f} ms a frame, {peak}")


if __name__ == "__main__":
    main()
