"""Seconds and memory of the paper's sizes on one GPU, beside the plan, the paper's seconds and
diffusers' network of equal size.

    python benchmarks/gpu.py [--json gpu.json] [--parts training tc] [--compile]
    python benchmarks/gpu.py --size tiny          # the same at small sizes, on a CPU too

About three minutes on an H200. Random weights: only sizes count. It needs PyTorch, diffusers, the
library, but no Dagster, MediaPipe or weights. A row is the work, its median seconds (a first call
warms up), the peak of allocated memory, the peak that the plan expects, and a reference.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet3DConditionModel
from torch.nn import functional as F

from paha_core.config import GuidanceConfig, Mode, Precision, Preset, load_preset
from paha_core.inference.guidance import energy_gradient
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.sampling import Conditions
from paha_core.models.audio_encoder import LogMel
from paha_core.models.build import new_classifier, univdm_of
from paha_core.models.codec import Codec, new_autoencoder
from paha_core.models.compiled import compile_blocks
from paha_core.models.reference_encoder import PooledPixels
from paha_core.models.univdm import UniVDM, network_input
from paha_core.stages.plan import Machine, Planner
from paha_core.trained import PARTS
from paha_core.training.ema import EMA
from paha_core.training.tasks.univdm import par_loss
from paha_core.training.traces import classifier_step, conditions_like

GIB = 2**30
REPEATS = 3
PAPER_SECONDS: dict[Mode, float] = {"unguided": 85, "sequential": 98, "differential": 112}
PARTS_OF_THIS = ("training", "classifier", "guidance", "codec", "tc")


@dataclass(frozen=True)
class Row:
    work: str
    seconds: float
    peak_gib: float | None  # allocated; None on a CPU
    planned_gib: float | None
    reference: str = ""

    def __str__(self) -> str:
        peak, planned = (
            "" if x is None else f"{x:8.2f} GiB" for x in (self.peak_gib, self.planned_gib)
        )
        return f"{self.work:52} {self.seconds:8.3f} s {peak:>13} {planned:>13}   {self.reference}"


class Bench:
    """The networks of one preset on one device."""

    def __init__(self, preset: Preset, device: str, steps: int, compiled: bool) -> None:
        self.preset = preset.with_generation(compile=compiled)
        self.device, self.steps, self.compiled = device, steps, compiled
        self.planner = Planner(preset, Machine())
        self.widths = self.planner.widths
        self.side = preset.codec.latent_size

    def measure(self, work: str, run: Callable[[], object], planned: float | None = None,
                reference: str = "", repeats: int = REPEATS) -> Row:  # fmt: skip
        """`planned` is in bytes."""
        cuda = self.device == "cuda"
        run()
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            run()
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        peak = torch.cuda.max_memory_allocated() / GIB if cuda else None
        expected = None if planned is None else planned / GIB
        return Row(work, statistics.median(times), peak, expected, reference)

    def conditions(self, batch: int, frames: int, side: int) -> tuple[torch.Tensor, ...]:
        with torch.device(self.device):
            return conditions_like(self.preset, self.widths, batch, frames, side)

    def half(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16)

    def univdm(self) -> UniVDM:
        with torch.device(self.device):
            model = univdm_of(self.preset, self.widths)
        if self.compiled:
            compile_blocks(model)
        return model

    def training(self) -> Iterator[Row]:
        yield self.training_step()
        ours = self.forward_and_backward()
        rival = self.unet_3d(self.preset.univdm.train.frames + 1)
        yield Row(**asdict(ours) | {"reference": f"UNet3DConditionModel {rival:.3f} s"})

    def training_step(self) -> Row:
        """A step of one clip in bf16, checkpointed, with AdamW and EMA."""
        model = self.univdm().train()
        model.enable_gradient_checkpointing()
        backward = self.backward_of(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        ema, finite = EMA(model, 0.9999), torch.tensor(True, device=self.device)

        def step() -> None:
            backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            ema.update(model, 0, finite)
            optimizer.zero_grad(set_to_none=True)

        planned = self.planner.univdm().allocated
        return self.measure("training step, bf16, checkpointed", step, planned)

    def forward_and_backward(self) -> Row:
        """The same clip without optimizer and checkpoints."""
        model = self.univdm().train()
        backward = self.backward_of(model)

        def step() -> None:
            backward()
            model.zero_grad(set_to_none=True)

        return self.measure("forward and backward, bf16, all activations kept", step)

    def backward_of(self, model: UniVDM) -> Callable[[], None]:
        frames = self.preset.univdm.train.frames
        with torch.device(self.device):
            video = torch.randn(1, self.widths.latent_channels, frames, self.side, self.side)
            weights = torch.ones(1, frames, self.side, self.side)
            timestep = torch.zeros(1, dtype=torch.int64)
        inputs = network_input(video, None), timestep, *self.conditions(1, frames, self.side)

        def backward() -> None:
            with self.half():
                noise_pred = model(*inputs)
                loss = par_loss((noise_pred.float() - video).square().mean(dim=1), weights)
            loss.backward()

        return backward

    def unet_3d(self, frames: int) -> float:
        """Seconds of diffusers' network of the same size; it has no reference slot, so it gets that
        frame more, and as many tokens of context."""
        network = self.preset.univdm.network
        with torch.device(self.device):
            kinds = network.attention_levels
            rival = UNet3DConditionModel(
                in_channels=2 * self.widths.latent_channels + 1,
                out_channels=self.widths.latent_channels,
                down_block_types=tuple(
                    "CrossAttnDownBlock3D" if k else "DownBlock3D" for k in kinds
                ),
                up_block_types=tuple(
                    "CrossAttnUpBlock3D" if k else "UpBlock3D" for k in reversed(kinds)
                ),
                block_out_channels=network.block_out_channels,
                layers_per_block=network.layers_per_block,
                attention_head_dim=network.attention_head_dim,
                cross_attention_dim=network.cross_attention_dim,
                norm_num_groups=network.norm_groups,
            ).train()
            sample = torch.randn(1, rival.config.in_channels, frames, self.side, self.side)
            context = torch.randn(1, network.reference_tokens, network.cross_attention_dim)
            timestep = torch.zeros(1, dtype=torch.int64)

        def backward() -> None:
            with self.half():
                loss = rival(sample, timestep, context).sample.float().square().mean()
            loss.backward()
            rival.zero_grad(set_to_none=True)

        return self.measure("", backward).seconds

    def classifier(self) -> Iterator[Row]:
        """A sample of the longest negative, forward and backward."""
        frames = max(self.preset.negatives.lengths)
        with torch.device(self.device):
            model = new_classifier(self.preset.classifiers, self.univdm()).train()
            shape = (1, self.widths.latent_channels, frames, self.side, self.side)
            video, timestep = torch.randn(shape), torch.zeros(1, dtype=torch.int64)
        conditions = self.conditions(1, frames, self.side)
        model.encoder.enable_gradient_checkpointing()

        def step() -> None:
            with self.half():
                loss = F.softplus(-model(video, timestep, *conditions)).mean()
            loss.backward()
            model.zero_grad(set_to_none=True)

        preset = self.preset.model_copy(
            update={
                "trainer": self.preset.trainer.model_copy(update={"precision": "bf16"}),
                "univdm": self.preset.univdm.model_copy(update={"gradient_checkpointing": True}),
            }
        )
        traced = classifier_step(preset, self.widths, 1, frames).peak_bytes
        planned = traced + 4 * sum(self.planner.classifier_sizes)
        yield self.measure(f"classifier, one sample of {frames} frames, bf16", step, planned)

    def guidance(self) -> Iterator[Row]:
        """One classifier's gradient at the latents of a segment, bf16, with and without
        checkpointing."""
        frames = self.preset.generation.segment_frames
        with torch.device(self.device):
            model = new_classifier(self.preset.classifiers, self.univdm())
            shape = (1, self.widths.latent_channels, frames, self.side, self.side)
            latents = torch.randn(shape)
        model.eval().requires_grad_(False)
        inputs = self.conditions(1, frames, self.side)

        def logit(point: torch.Tensor, timestep: int) -> torch.Tensor:
            with self.half():
                times = torch.full((1,), timestep, device=self.device)
                return model(point, times, *inputs)

        for checkpointed in (False, True):
            if checkpointed:
                model.encoder.enable_gradient_checkpointing()
            how = "checkpointed" if checkpointed else "all activations kept"
            planned = None
            if checkpointed == self.preset.generation.gradient_checkpointing:
                planned = self.planner.gradient(self.side, 1).peak_bytes
                planned += 4 * sum(self.planner.classifier_sizes)
            yield self.measure(
                f"guidance gradient, bf16, {how}",
                lambda: energy_gradient(logit, latents, 500),
                planned,
            )

    def codec(self) -> Iterator[Row]:
        """A segment's frames through the codec, `codec.batch` at once."""
        codec, size = self.new_codec(), self.preset.codec.size
        count = self.preset.generation.segment_frames
        frames = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
        latents = codec.encode(frames)
        for name, run in (
            ("encode", lambda: codec.encode(frames)),
            ("decode", lambda: codec.decode(latents)),
        ):
            yield self.measure(f"codec, {name} {count} frames of {size} pixels", run)

    def new_codec(self) -> Codec:
        with torch.device(self.device):
            network = new_autoencoder(self.preset.codec)
        return Codec(network, "random", "none", self.preset.codec.batch)

    def tc(self) -> Iterator[Row]:
        """Time cost: a segment from noise to frames, at half the codec's size and at the whole."""
        model, codec = self.univdm().requires_grad_(False).eval(), self.new_codec()
        with torch.device(self.device):
            classifiers = {part: new_classifier(self.preset.classifiers, model) for part in PARTS}
        for classifier in classifiers.values():
            classifier.eval().requires_grad_(False)
        pipeline = PahaPipeline(
            self.preset, codec, model, LogMel(), PooledPixels(), classifiers, device=self.device
        )
        half, whole = self.preset.codec.size // 2, self.preset.codec.size
        yield from self.modes(pipeline, half, self.steps, "bf16")
        full: Precision = "tf32" if self.device == "cuda" else "fp32"
        yield from self.modes(pipeline, half, self.steps, full)
        yield from self.modes(pipeline, whole, max(2, self.steps // 3), "bf16")

    def modes(
        self, pipeline: PahaPipeline, size: int, steps: int, precision: Precision
    ) -> Iterator[Row]:
        frames = self.preset.generation.segment_frames
        conditions = Conditions(*self.conditions(1, frames, size // self.preset.codec.factor))
        box = np.array([[0.3, 0.1, 0.7, 0.5]])
        planned = None
        if size == self.planner.size and precision == self.preset.generation.precision:
            planned = sum(self.planner.generation_memory().values())
        base = 0.0
        for mode, paper in PAPER_SECONDS.items():
            settings = Settings(
                mode=mode,
                steps=steps,
                precision=precision,
                guidance=GuidanceConfig(rate=0.5),
                force=True,
            )
            row = self.measure(
                f"TC {size} pixels, {mode}, {precision}, {steps} steps",
                partial(pipeline.generate, conditions, box, settings),
                planned if mode == "differential" else None,
                repeats=1,
            )
            base = base or row.seconds
            ratio = f"{row.seconds / base:.2f} x unguided"
            paper_ratio = f"paper {paper:.0f} s, {paper / PAPER_SECONDS['unguided']:.2f} x"
            yield Row(**asdict(row) | {"reference": f"{ratio} ({paper_ratio})"})


def preset_of(size: str) -> Preset:
    """`paper`, or the demo's networks at 8 x 8 cells."""
    preset = load_preset("paper" if size == "paper" else "demo")
    if size == "paper":
        return preset
    generation = {"segment_frames": 3, "gradient_checkpointing": True}
    return preset.model_copy(
        update={
            "codec": preset.codec.model_copy(update={"size": 8 * preset.codec.factor}),
            "generation": preset.generation.model_copy(update=generation),
            "negatives": preset.negatives.model_copy(update={"lengths": (3, 5)}),
        }
    )


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("paper", "tiny"))
    parser.add_argument("--parts", nargs="*", choices=PARTS_OF_THIS, default=PARTS_OF_THIS)
    parser.add_argument("--compile", action="store_true", help="compile the repeated layers")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = options.size or ("paper" if device == "cuda" else "tiny")
    torch.manual_seed(0)
    name = (
        torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{size} on {name}, PyTorch {torch.__version__}")
    print(f"{'':52} {'seconds':>10} {'peak':>13} {'planned':>13}   reference")
    bench = Bench(preset_of(size), device, 30 if size == "paper" else 2, options.compile)
    rows = []
    for part in options.parts:
        for row in getattr(bench, part)():
            print(row, flush=True)
            rows.append(row)
        if device == "cuda":
            torch.cuda.empty_cache()
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    return rows


if __name__ == "__main__":
    main()
