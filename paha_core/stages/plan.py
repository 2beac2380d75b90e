"""Estimates what every stage of a preset needs on given GPUs: memory, time, disk.

Nothing is loaded or trained. Weights, averages and optimizers are exact; activations and arithmetic
are traced (`paha_core.training.traces`). Times follow from the machine's peak and the share of it
that is reached. Where a preset does not limit the number of clips, the paper's corpora are assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise

import torch

from paha_core.benchmark.tables.specs import SUITES
from paha_core.benchmark.tables.variants import variant_name
from paha_core.config import GuidanceConfig, Mode, Preset, TrainConfig, derived
from paha_core.inference.negatives import count_of
from paha_core.inference.offload import layers_of
from paha_core.inference.sampling import segment_count
from paha_core.media import FPS
from paha_core.models.build import univdm_of
from paha_core.models.codec import new_autoencoder
from paha_core.models.int8 import bytes_of
from paha_core.training import traces
from paha_core.training.memory import StepCost
from paha_core.training.optimizer import moments_bytes

GIB = 2**30
FLOAT32 = 4
CONTEXT_GIB = 1.0  # a GPU's libraries and cuDNN's workspace
FRAGMENTED = 0.05  # share of the used memory that the allocator loses
PATS_SECONDS, CNAS_SECONDS = 4 * 1200 * 15, 36_825  # section 5.1 and appendix C
TEST_CLIPS = {"pats": 480, "cnas": 735}  # of the paper's corpora, by kind
SECONDS_A_DAY = 86_400
# Of the published weights: CLIP ViT-H/14's vision tower, wav2vec2-base.
ENCODER_PARAMETERS = {"clip": 632_076_800, "wav2vec2": 94_371_712}


@dataclass(frozen=True)
class Machine:
    """`tflops`: peak of one GPU at the preset's precision; `utilisation`: the share reached."""

    gpus: int = 1
    memory_gib: float = 80.0
    tflops: float = 312.0
    utilisation: float = 0.35

    def days(self, flops: float) -> float:
        """The days that all GPUs together take for that many FLOPs."""
        return flops / (self.gpus * self.tflops * 1e12 * self.utilisation) / SECONDS_A_DAY


@dataclass(frozen=True)
class StagePlan:
    """One stage. `memory` names what one GPU holds at the worst moment, in bytes; `flops` are those
    of the whole stage; `disk` is what it leaves, in bytes."""

    stage: str
    memory: dict[str, int]
    flops: float
    days: float
    disk: int = 0
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def allocated(self) -> int:
        """Bytes that PyTorch allocates."""
        return sum(self.memory.values())

    @property
    def total(self) -> int:
        """Bytes with the libraries and the allocator's fragmentation."""
        return round((1 + FRAGMENTED) * self.allocated + CONTEXT_GIB * GIB)

    def fits(self, machine: Machine) -> bool:
        return self.total <= machine.memory_gib * GIB


class Planner:
    """Plans the stages of one preset; each piece of work is traced once.

    `traced`: of another preset whose networks have the same sizes.
    """

    def __init__(
        self, preset: Preset, machine: Machine, traced: dict[Hashable, StepCost] | None = None
    ) -> None:
        self.preset, self.machine = preset, machine
        self.widths = traces.planned_widths(preset)
        self.traced: dict[Hashable, StepCost] = {} if traced is None else traced

    # Sizes

    @cached_property
    def univdm_sizes(self) -> list[int]:
        return traces.parameters_of(lambda: univdm_of(self.preset, self.widths))

    @cached_property
    def classifier_sizes(self) -> list[int]:
        return traces.parameters_of(lambda: traces.new_classifier_of(self.preset, self.widths))

    @cached_property
    def univdm_bytes(self) -> tuple[int, int]:
        """Bytes of UniVDM's weights while videos are generated: of all, and of the largest layer
        with what stays beside it, which is on the card at once where layers are offloaded."""
        with torch.device("meta"):
            network = traces.held(self.preset, univdm_of(self.preset, self.widths))
        layers, whole = [bytes_of(layer) for layer in layers_of(network)], bytes_of(network)
        return whole, max(layers) + whole - sum(layers)

    @cached_property
    def classifier_bytes(self) -> int:
        """Bytes of one classifier's weights while videos are generated."""
        with torch.device("meta"):
            network = traces.new_classifier_of(self.preset, self.widths)
            return bytes_of(traces.held(self.preset, network))

    def bytes_per_second(self) -> int:
        """Bytes of a second of video in the shards: latents, PAR weights and audio features in
        float16, regions in a byte a cell, and the wave at 16 kHz."""
        cells = self.preset.codec.latent_size**2
        a_frame = 2 * self.widths.latent_channels * cells + 2 * cells + cells
        a_frame += 2 * self.widths.audio_layers * self.widths.audio_width
        return FPS * a_frame + 2 * 16_000

    # Training

    def univdm(self) -> StagePlan:
        train = self.preset.univdm.train
        micro, _ = train.shares(self.machine.gpus)
        step = self._once(
            ("univdm", micro), lambda: traces.univdm_step(self.preset, self.widths, micro)
        )
        flops = step.flops / micro * train.batch * train.steps
        return self._training("univdm", train, self.univdm_sizes, step, flops)

    def classifiers(self) -> StagePlan:
        """Both, one after the other."""
        config = self.preset.classifiers
        lengths = self.preset.negatives.lengths_within(config.max_frames)
        micro, _ = config.train.shares(self.machine.gpus)
        ends = {n: self._classifier_step(micro, n) for n in {min(lengths), max(lengths)}}
        per_step = _mean_between(ends, lengths) / micro * config.train.batch
        flops = 2 * per_step * config.train.steps
        longest = ends[max(lengths)]
        return self._training("classifiers", config.train, self.classifier_sizes, longest, flops, 2)

    def _classifier_step(self, micro: int, frames: int) -> StepCost:
        return self._once(
            ("classifier", micro, frames),
            lambda: traces.classifier_step(self.preset, self.widths, micro, frames),
        )

    def _training(
        self,
        stage: str,
        train: TrainConfig,
        sizes: Sequence[int],
        step: StepCost,
        flops: float,
        networks: int = 1,
    ) -> StagePlan:
        weights = FLOAT32 * sum(sizes)
        optimizer = moments_bytes(sizes, self.preset.trainer.optimizer_bits)
        average = weights if train.ema else 0
        sharers = self.machine.gpus if self.preset.trainer.shard_optimizer else 1
        memory = {
            "weights": weights,
            "their average": average,
            "AdamW's moments": optimizer // sharers,
            "gradients between processes, at most": weights if self.machine.gpus > 1 else 0,
            "activations and gradients at their peak": step.peak_bytes,
        }
        kept = self.preset.trainer.keep_every
        checkpoints = train.keep + (train.steps // kept if kept else 0) + 1
        days = self.machine.days(flops)
        notes = {
            "parameters": sum(sizes),
            "steps a second": networks * train.steps / (days * SECONDS_A_DAY),
            "flops of a step": flops / (networks * train.steps),
        }
        disk = networks * checkpoints * (weights + average + optimizer)
        return StagePlan(stage, memory, flops, days, disk, notes)

    # Generation

    def negatives(self) -> StagePlan:
        config, generation = self.preset.negatives, self.preset.generation
        lengths = config.lengths if config.augment else (max(config.lengths),)
        segments = sum(segment_count(n, generation.segment_frames) for n in lengths) / len(lengths)
        a_dataset = sum(count_of(self.preset, split) for split in ("train", "test"))
        count = a_dataset * len(self.preset.classifier_datasets)
        solver = self.solver(self.preset.codec.latent_size, 1, config.precision)
        flops = count * segments * config.ddim_steps * solver.flops
        peak = self.solver(self.preset.codec.latent_size, config.batch, config.precision)
        seconds = count * sum(lengths) / len(lengths) / FPS
        memory = {
            "weights": FLOAT32 * sum(self.univdm_sizes),
            "solver at its peak": peak.peak_bytes,
        }
        disk = round(seconds * self.bytes_per_second())
        return StagePlan("negative_samples", memory, flops, self.machine.days(flops), disk)

    def generation(self) -> StagePlan:
        """Held-out clips in every mode."""
        generation = self.preset.generation
        flops = sum(self._videos(mode, generation.guidance) for mode in generation.modes)
        memory = self.generation_memory()
        return StagePlan("generated_clips", memory, flops, self.machine.days(flops))

    def tables(self) -> StagePlan:
        """The rows of the paper's tables at `benchmark.suite.seeds` noises; rows that other tables
        hold too are counted once, the trainings of table 3 by `variants`."""
        suite = self.preset.benchmark.suite
        rows = {
            (row.mode, row.guidance(self.preset).model_dump_json(), str(row.training))
            for table in SUITES.values()
            for row in table.rows
        }
        flops = sum(
            suite.seeds * self._videos(mode, GuidanceConfig.model_validate_json(guidance))
            for mode, guidance, _ in rows
        )
        memory = self.generation_memory()
        return StagePlan("tables", memory, flops, self.machine.days(flops), 0, {"rows": len(rows)})

    def variants(self) -> StagePlan:
        """What the rows of table 3 train anew: negatives, both classifiers and, where its own
        settings change, UniVDM. They change no sizes, so the most memory is that of ours."""
        rows = [row for table in SUITES.values() for row in table.rows if row.training]
        parts: list[StagePlan] = []
        for name in dict.fromkeys(variant_name(row.training) for row in rows):
            same = [row for row in rows if variant_name(row.training) == name]
            preset = derived(self.preset, same[0].training)
            planner = Planner(preset, self.machine, self.traced)
            if preset.univdm != self.preset.univdm:
                parts.append(planner.univdm())
            if any(row.mode != "unguided" for row in same):
                parts += [planner.negatives(), planner.classifiers()]
        largest = max(parts, key=lambda part: part.allocated)
        flops, disk = (sum(getattr(part, what) for part in parts) for what in ("flops", "disk"))
        notes: dict[str, float] = {"trainings": len(parts)}
        days = self.machine.days(flops)
        return StagePlan("table3 trainings", largest.memory, flops, days, round(disk), notes)

    def generation_memory(self) -> dict[str, int]:
        """What one GPU holds while a batch of clips is generated, guided by two classifiers."""
        generation, codec = self.preset.generation, self.preset.codec
        side = self.size // codec.factor
        states = 3 if "differential" in generation.modes else 1  # equation 12 solves three at once
        peaks = [self.solver(side, states * generation.batch).peak_bytes]
        guided = [mode for mode in generation.modes if mode != "unguided"]
        if guided:
            peaks.append(self.gradient(side, generation.batch).peak_bytes)
        peaks.append(self.decoder.peak_bytes)
        encoders = 0 if generation.offload else self._encoder_bytes
        return {
            "UniVDM": self.univdm_bytes[generation.offload_layers],
            "classifiers": 2 * self.classifier_bytes if guided else 0,
            "codec and encoders": self._codec_bytes + encoders,
            "solver, gradient or codec at its peak": max(peaks),
        }

    @property
    def size(self) -> int:
        """The side of a generated video."""
        return self.preset.generation.size or self.preset.codec.size

    def solver(self, side: int, batch: int, precision: str | None = None) -> StepCost:
        precision = precision or self.preset.generation.precision
        return self._traced("solver", side, batch, precision)

    def gradient(self, side: int, batch: int) -> StepCost:
        return self._traced("gradient", side, batch, self.preset.generation.precision)

    @cached_property
    def decoder(self) -> StepCost:
        """One batch of frames through the codec's decoder."""
        return traces.codec_passes(self.preset.codec, self.preset.codec.batch, self.size)[1]

    def _traced(self, what: str, side: int, batch: int, precision: str) -> StepCost:
        preset = self.preset.with_generation(precision=precision)
        trace = traces.solver_pass if what == "solver" else traces.guidance_gradient
        key = what, side, batch, precision, preset.generation.weights
        return self._once(key, lambda: trace(preset, self.widths, batch, side))

    def _once(self, key: Hashable, trace: Callable[[], StepCost]) -> StepCost:
        if key not in self.traced:
            self.traced[key] = trace()
        return self.traced[key]

    @cached_property
    def _codec_bytes(self) -> int:
        return FLOAT32 * sum(traces.parameters_of(lambda: new_autoencoder(self.preset.codec)))

    @property
    def _encoder_bytes(self) -> int:
        names = (self.preset.reference.encoder, self.preset.audio.encoder)
        return sum(FLOAT32 * ENCODER_PARAMETERS.get(name, 0) for name in names)

    def _videos(self, mode: Mode, guidance: GuidanceConfig) -> float:
        """FLOPs of every held-out clip in one mode."""
        return self._segments() * self.segment_flops(mode, guidance)

    def segment_flops(self, mode: Mode, guidance: GuidanceConfig) -> float:
        """FLOPs of one segment in one mode, from noise to pictures."""
        generation, codec = self.preset.generation, self.preset.codec
        side, frames = self.size // codec.factor, generation.segment_frames
        steps = self.preset.num_inference_steps
        guided = 0 if mode == "unguided" else guidance.guided_steps(steps)
        classifiers = sum(bool(x) for x in (guidance.lambda_face, guidance.lambda_non_face))
        solves = steps * (1 if generation.cfg_scale == 1 or generation.fast else 2)
        if mode == "differential" and guidance.lambda_diff:
            solves += 2 * guided
        a_segment = float(solves * self.solver(side, 1).flops)
        if guided:
            a_segment += guided * classifiers * self.gradient(side, 1).flops
        return a_segment + frames * self.decoder.flops / codec.batch

    def _segments(self) -> int:
        """Segments of all held-out clips, each as long as `generation.max_frames` allows."""
        generation, corpora = self.preset.generation, self.preset.corpora
        total = 0
        for dataset in corpora.datasets:
            entry = corpora.entry(dataset)
            seconds = getattr(entry, "max_seconds", generation.max_frames / FPS)
            longest = getattr(entry, "clip_frames", None) or round(seconds * FPS)
            frames = min(generation.max_frames, longest)
            clips = generation.clips or TEST_CLIPS.get(entry.kind, TEST_CLIPS["pats"])
            total += clips * segment_count(frames, generation.segment_frames)
        return total


def plan_stages(preset: Preset, machine: Machine) -> list[StagePlan]:
    """The stages that need a GPU, in the pipeline's order."""
    planner = Planner(preset, machine)
    shards = (PATS_SECONDS + CNAS_SECONDS) * planner.bytes_per_second()
    encoder = traces.codec_passes(preset.codec, preset.codec.batch, preset.codec.size)[0]
    frames = (PATS_SECONDS + CNAS_SECONDS) * FPS
    flops = encoder.flops / preset.codec.batch * frames
    memory = {
        "codec and encoders": planner._codec_bytes + planner._encoder_bytes,
        "codec at its peak": encoder.peak_bytes,
    }
    return [
        StagePlan("training_shards", memory, flops, machine.days(flops), shards),
        planner.univdm(),
        planner.negatives(),
        planner.classifiers(),
        planner.generation(),
        planner.variants(),
        planner.tables(),
    ]


def as_json(plans: list[StagePlan], machine: Machine) -> dict[str, object]:
    """For programs: bytes, FLOPs and days of every stage."""
    stages = {
        p.stage: asdict(p) | {"allocated": p.allocated, "total": p.total, "fits": p.fits(machine)}
        for p in plans
    }
    fits = all(p.fits(machine) for p in plans)
    return {"memory": round(machine.memory_gib * GIB), "fits": fits, "stages": stages}


def _mean_between(ends: dict[int, StepCost], lengths: Sequence[int]) -> float:
    """The mean FLOPs over all lengths, interpolated linearly between the traced ones."""
    if len(ends) == 1:
        return float(next(iter(ends.values())).flops)
    (low, high), *_ = pairwise(sorted(ends))
    slope = (ends[high].flops - ends[low].flops) / (high - low)
    return sum(ends[low].flops + slope * (n - low) for n in lengths) / len(lengths)
