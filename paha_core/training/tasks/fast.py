"""Distillation of UniVDM into `univdm_fast`, a student that takes few steps.

Progressive distillation (Salimans and Ho, 2022; with an adversarial loss it is SDXL-Lightning, the
paper's reference 18): from a clip at one of the student's noise levels, the teacher takes several
DDIM steps to the next level, and the student learns the output whose single DDIM step ends there.
So the student is sampled like its teacher, by the same solver at the same noise levels, and
guidance and first frames act on it unchanged. Classifier-free guidance of the teacher is distilled
as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from paha_core.config import Preset
from paha_core.models.load import load_univdm
from paha_core.models.noise import ddim_update, sampling_scheduler
from paha_core.models.univdm import EncodedConditions, UniVDM, network_input
from paha_core.shards.prefetch import Prefetched
from paha_core.shards.windows import Batch
from paha_core.shards.writer import encoders_of, index_rows
from paha_core.store import Store
from paha_core.trained import UNIVDM, UNIVDM_FAST, fingerprint
from paha_core.training.distributed import init_distributed
from paha_core.training.loop import fit
from paha_core.training.run import Run
from paha_core.training.tasks.univdm import (
    ExampleBatches,
    Examples,
    ExampleSource,
    UniVDMTask,
    readers,
    training_windows,
)

CODE_VERSION = "1"


class DistillationTask(UniVDMTask):
    """The student's error against several steps of its teacher, weighted as UniVDM's (PAR)."""

    def __init__(
        self,
        student: UniVDM,
        teacher: UniVDM,
        preset: Preset,
        examples: ExampleSource,
        held_out: Sequence[Batch],
    ) -> None:
        super().__init__(student, preset.univdm, examples, held_out)
        self.teacher = teacher.eval().requires_grad_(False)
        self.cfg_scale = preset.generation.cfg_scale
        self.intervals = step_intervals(preset)

    def _squared_error(self, model: Any, examples: Examples) -> torch.Tensor:
        """Mean over channels, [b, f, h, w], in units of the model's output."""
        # 1. the student's step of each sample: an example's timestep is uniform in 0..999
        batch, intervals = examples.batch, self.intervals.to(examples.noise.device)
        levels = intervals[(999 - examples.timestep) * len(intervals) // 1000]  # [b, k + 1]
        noisy = self._noised(examples, levels[:, 0])

        # 2. where the teacher's steps end
        end = self._teacher_end(examples, noisy, levels)

        # 3. the output whose one step ends there: a step is linear in output and sample
        alpha, next_alpha = self._alphas(levels[:, 0]), self._alphas(levels[:, -1])
        zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
        of_sample = ddim_update(self.config.prediction, zero, one, alpha, next_alpha)
        of_output = ddim_update(self.config.prediction, one, zero, alpha, next_alpha)
        target = (end - of_sample * noisy) / of_output

        # 4. the student's output
        model_output = model(
            network_input(noisy, batch.first_frame, examples.has_first_frame),
            levels[:, 0],
            batch.reference_latents,
            batch.reference_embedding,
            batch.audio,
        )
        return (model_output.float() - target).square().mean(dim=1)

    @torch.no_grad()
    def _teacher_end(
        self, examples: Examples, noisy: torch.Tensor, levels: torch.Tensor
    ) -> torch.Tensor:
        """The teacher's DDIM steps through `levels` [b, k + 1], from `noisy` at the first. A given
        frame 0 is reset at each level, as in sampling (`inference/sampling.py`)."""
        batch = examples.batch
        self.teacher.to(noisy.device)
        given = batch.reference_latents, batch.reference_embedding, batch.audio
        encoded, dropped = self.teacher.encode_conditions(*given), None
        if self.cfg_scale != 1:
            dropped = self.teacher.encode_conditions(*map(torch.zeros_like, given))
        latents = noisy
        for now, after in zip(levels.T[:-1], levels.T[1:], strict=True):
            output = self._teacher_output(examples, latents, now, encoded, dropped)
            alphas = self._alphas(now), self._alphas(after)
            latents = ddim_update(self.config.prediction, output, latents, *alphas)
            known = self._noised(examples, after)[:, :, 0]
            shown = examples.has_first_frame[:, None, None, None]
            first = torch.where(shown, known, latents[:, :, 0])
            latents = torch.cat([first[:, :, None], latents[:, :, 1:]], dim=2)
        return latents

    def _teacher_output(
        self,
        examples: Examples,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        encoded: EncodedConditions,
        dropped: EncodedConditions | None,
    ) -> torch.Tensor:
        sample = network_input(latents, examples.batch.first_frame, examples.has_first_frame)
        output = self.teacher.denoise(sample, timestep, encoded).float()
        if dropped is None:
            return output
        without = self.teacher.denoise(sample, timestep, dropped).float()
        return without + self.cfg_scale * (output - without)

    def _noised(self, examples: Examples, timestep: torch.Tensor) -> torch.Tensor:
        return self.scheduler.add_noise(examples.batch.latents, examples.noise, timestep)

    def _alphas(self, timestep: torch.Tensor) -> torch.Tensor:
        """alpha_bar at `timestep` [b], as [b, 1, 1, 1, 1]."""
        alphas = self.scheduler.alphas_cumprod.to(timestep.device)
        return alphas[timestep][:, None, None, None, None]


def step_intervals(preset: Preset) -> torch.Tensor:
    """Timesteps [steps, teacher_steps + 1]: each step of the student from its noise level to the
    next, and the teacher's levels between. Sampling ends at timestep 0."""
    fast = preset.fast
    levels = [*sampling_scheduler(preset.univdm, fast.steps).timesteps.tolist(), 0]
    between = [
        torch.linspace(now, after, fast.teacher_steps + 1) for now, after in pairwise(levels)
    ]
    return torch.stack(between).round().long()


def fast_run(store: Store, preset: Preset, device: str = "cpu") -> Run:
    """The run of the preset's `fast` section on this UniVDM and these shards."""
    config, fast = preset.univdm, preset.fast
    shards = index_rows(store, "training_shards", preset.corpora.datasets)
    clips = [(row["clip_id"], row["fingerprint"], row["split"]) for row in shards]
    teacher = fingerprint(store, UNIVDM)
    sizes = [config.identity("train"), fast.identity("train"), preset.generation.cfg_scale]
    content = [CODE_VERSION, teacher, sizes, preset.audio.margin, clips]
    run = Run.of(store, UNIVDM_FAST, fast.train, preset.trainer, content)
    sources = {"teacher": teacher} | encoders_of(shards)
    return replace(run, device=device, sources=sources)


def train_fast(store: Store, preset: Preset, run: Run | None = None) -> bool:
    """Train the student in every launched process, from its teacher's weights; returns whether
    anything had to be done. Raises `FileNotFoundError` where UniVDM is not trained."""
    run = run or fast_run(store, preset)
    if run.is_done():
        return False
    config, dist = preset.fast.train, init_distributed(run.device)
    windows, fixed = training_windows(preset, config, *readers(store, preset), dist)
    distilled = preset.univdm.model_copy(update={"train": config, "condition_dropout": 0.0})
    examples = ExampleBatches(windows, distilled, dist)
    student, teacher = load_univdm(store), load_univdm(store)
    with Prefetched(examples, pin=run.device == "cuda") as prefetched:
        task = DistillationTask(student, teacher, preset, prefetched, fixed)
        return fit(task, config, run, dist)
