"""Training of an adapter: LoRA on a frozen UniVDM, with its own loss, on one person's clips, and
with the base's predictions on clips of other people (`prior`)."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paha_core.config import Preset, UniVDMConfig
from paha_core.errors import UserError
from paha_core.inference.adapters import FILE, AdapterInfo, fingerprint_of, write_adapter
from paha_core.inference.components import PipelineComponents
from paha_core.media import FPS
from paha_core.models.lora import (
    activate,
    add_lora,
    lora_parameters,
    remove_lora,
    target_layers,
    without_adapters,
)
from paha_core.models.univdm import UniVDM
from paha_core.shards.prefetch import Prefetched
from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import Batch, Batches, WindowBatches
from paha_core.shards.writer import index_rows
from paha_core.store import Store
from paha_core.trained import ADAPTER
from paha_core.training.loop import fit
from paha_core.training.run import Run, Scalars
from paha_core.training.tasks.prior import MixedWindows, Prior
from paha_core.training.tasks.univdm import ExampleBatches, Examples, ExampleSource, UniVDMTask

CODE_VERSION = "2"
NAME = "trained"  # of the adapter within the network while it is trained


class AdaptedUniVDM(nn.Module):
    """A UniVDM whose only parameters are an adapter's, so that optimizer, moving average and
    checkpoints hold these alone."""

    univdm: UniVDM

    def __init__(self, univdm: UniVDM, parameters: dict[str, nn.Parameter]) -> None:
        super().__init__()
        self.__dict__["univdm"] = univdm  # no submodule
        for name, parameter in parameters.items():
            self.register_parameter(name.replace(".", "/"), parameter)

    def enable_gradient_checkpointing(self) -> None:
        self.univdm.enable_gradient_checkpointing()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = self.univdm(*inputs)
        return predicted


class AdapterTask(UniVDMTask):
    """Denoising of one person's windows, and the base's prediction on those of `prior`.

    Validation is on the person's held-out windows, and on the prior's as `validation_loss_others`;
    each has the base's value beside it.
    """

    def __init__(
        self,
        model: AdaptedUniVDM,
        config: UniVDMConfig,
        examples: ExampleSource,
        held_out: Sequence[Batch],
        info: AdapterInfo,
        prior_keys: Set[str],
        others: Sequence[Batch],
    ) -> None:
        super().__init__(model, config, examples, held_out)  # type: ignore[arg-type]
        self.info, self.prior_keys, self.others = info, prior_keys, others
        self.of_base: Scalars | None = None

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        if self.of_base is None:
            with without_adapters(model.univdm):
                of_base = self._on_both(model)
            self.of_base = {f"{name}_of_base": value for name, value in of_base.items()}
        return self._on_both(model) | self.of_base

    def _on_both(self, model: Any) -> Scalars:
        found = self._metrics_on(model, self.held_out)
        if self.others:
            others = self._metrics_on(model, self.others)
            found["validation_loss_others"] = others["validation_loss"]
        return found

    def _target(
        self, model: Any, examples: Examples, inputs: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        target = super()._target(model, examples, inputs)
        rows = [row for row, key in enumerate(examples.batch.keys) if key in self.prior_keys]
        if not rows:
            return target
        with torch.no_grad(), without_adapters(model.univdm):
            of_base = model(*(value[rows] for value in inputs)).float()
        return target.index_copy(0, torch.tensor(rows, device=target.device), of_base)

    def export(self, model: Any, folder: Path) -> None:
        write_adapter(folder / FILE, model.univdm, NAME, self.info)


@dataclass(frozen=True)
class Footage:
    """One person's encoded clips in a store: the train side, and the last ones to validate on."""

    train: ShardReader
    test: ShardReader
    fingerprints: list[str]

    @classmethod
    def of(cls, store: Store, dataset: str, held_out_share: float) -> Footage:
        """Raises `UserError` for fewer than two clips."""
        rows = index_rows(store, "training_shards", [dataset])
        rows.sort(key=lambda row: row["clip_id"])
        if len(rows) < 2:
            raise UserError(
                f"{len(rows)} usable clips, and at least 2 are needed: bring more footage, or turn "
                "off a filter that rejects yours (adapt.footage in the preset)"
            )
        count = max(1, round(held_out_share * len(rows)))
        train, test = (ShardReader(store, [dataset], None) for _ in range(2))
        train.rows, test.rows = rows[:-count], rows[-count:]
        return cls(train, test, [row["fingerprint"] for row in rows])

    @property
    def seconds(self) -> float:
        return sum(self.train.frames) / FPS


def adapter_run(
    store: Store, pipeline: PipelineComponents, footage: Footage, prior: Prior | None = None
) -> Run:
    """The run of the preset's `adapt` section on this footage, this prior and this UniVDM."""
    config, adapt = pipeline.preset.univdm, pipeline.preset.adapt
    content = [
        CODE_VERSION,
        fingerprint_of(pipeline.univdm),
        config.identity("train", "network"),
        [adapt.rank, adapt.alpha, list(adapt.targets)],
        footage.fingerprints,
        [adapt.prior_share, prior.fingerprints] if prior else None,
    ]
    trainer = pipeline.preset.trainer.model_copy(update={"compile": False, "strips": 0})
    run = Run.of(store, ADAPTER, adapt.train, trainer, content)
    return replace(run, device=pipeline.device)


def train_adapter(
    pipeline: PipelineComponents,
    footage: Footage,
    run: Run,
    speaker: str,
    licence: str,
    prior: Prior | None = None,
) -> bool:
    """Train the adapter of `run` in this process; returns whether anything had to be done. The
    pipeline's UniVDM is the base again afterwards.

    Raises `UserError` for targets that UniVDM doesn't have, and what `fit` raises.
    """
    if run.is_done():
        return False
    preset, univdm = pipeline.preset, pipeline.univdm
    adapt, config = preset.adapt, preset.univdm.model_copy(update={"train": preset.adapt.train})
    info = AdapterInfo(
        speaker=speaker,
        licence=licence,
        base=fingerprint_of(univdm),
        base_name=preset.name,
        codec=pipeline.codec.sha256,
        rank=adapt.rank,
        alpha=adapt.alpha,
        targets=adapt.targets,
        steps=adapt.train.steps,
        clips=len(footage.train),
        seconds=footage.seconds,
    )
    micro, _ = adapt.train.shares()
    window = adapt.train.frames, preset.audio.margin
    windows: Batches = WindowBatches(footage.train, micro, *window, adapt.train.seed)
    others: list[Batch] = []
    prior_keys: set[str] = set()
    if prior is not None:
        own, other = (
            WindowBatches(reader, 1, *window, adapt.train.seed)
            for reader in (footage.train, prior.train)
        )
        windows = MixedWindows(own, other, adapt.prior_share, micro)
        others = _fixed(prior.test, preset, window)
        prior_keys = {row["key"] for row in prior.train.rows}
    fixed = _fixed(footage.test, preset, window)
    layers = target_layers(univdm, adapt.targets)
    torch.manual_seed(adapt.train.seed)
    add_lora(univdm, NAME, layers, adapt.rank, adapt.alpha)
    try:
        model = AdaptedUniVDM(univdm, lora_parameters(univdm, NAME))
        _act(model)
        examples = ExampleBatches(windows, config)
        with Prefetched(examples, pin=run.device == "cuda") as prefetched:
            task = AdapterTask(model, config, prefetched, fixed, info, prior_keys, others)
            return fit(task, adapt.train, run)
    finally:
        remove_lora(univdm)


def _fixed(reader: ShardReader, preset: Preset, window: tuple[int, int]) -> list[Batch]:
    """Windows to validate on."""
    held_out = WindowBatches(reader, 1, *window, seed=1)
    return [held_out.batch_at(i) for i in range(preset.trainer.validation_windows)]


def _act(model: AdaptedUniVDM) -> None:
    """Let the adapter act, and only its parameters learn."""
    activate(model.univdm, {NAME: 1.0})
    model.univdm.requires_grad_(False)
    model.requires_grad_(True)
