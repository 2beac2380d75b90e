"""Checkpoints of a run: weights, their moving average, the optimizer's moments, and the step.

Each is a folder that appears whole or not at all; a half-written one has a temporary name, and the
next start removes it. Random numbers and the data's position follow from the step.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from paha_core.config import TrainConfig
from paha_core.training.ema import EMA
from paha_core.training.optimizer import load_moments, moments_of
from paha_core.training.run import Run, Task, TrainingError, TrainingState

log = logging.getLogger("paha")

STATE = "state.json"
EXPORTED = "training.json"


class CheckpointWriter:
    """Writes checkpoints in a thread while training goes on: one at a time, none of them lost.

    `save` copies the tensors to the host's memory (once more the size of a checkpoint) and returns.
    The end of the block waits for the one that is being written, however the block ends; its
    failure surfaces at the next `save`, `wait` or there.
    """

    def __init__(self, run: Run, keep: int) -> None:
        self.run, self.keep = run, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(
        self,
        model: nn.Module,
        ema: EMA | None,
        optimizer: torch.optim.Optimizer,
        state: TrainingState,
    ) -> None:
        """Checkpoint `state.step`; keep the last `keep` and the permanent ones.

        Every process calls it, so that shares of the optimizer come together; the one with `ema`
        writes.
        """
        if isinstance(optimizer, ZeroRedundancyOptimizer):
            optimizer.consolidate_state_dict(to=0)
        if ema is None:
            return
        self.wait()  # before the copies: there are never those of two checkpoints
        names = [name for name, _ in model.named_parameters()]
        moments = {
            f"{names[i]}/{key}": value
            for i, entry in moments_of(optimizer).items()
            for key, value in entry.items()
        }
        files = {
            "model.safetensors": _copied(model.state_dict()),
            "average.safetensors": _copied(dict(zip(names, ema.weights, strict=True))),
            "optimizer.safetensors": _copied(moments),
        }
        self._writing = self._thread.submit(self._write, files, asdict(state))

    def _write(self, files: dict[str, dict[str, torch.Tensor]], state: dict[str, int]) -> None:
        run = self.run
        description = state | {"fingerprint": run.fingerprint, "lineage": run.lineage}
        with run.store.writing_folder(f"{run.folder}/steps/{state['step']:08d}", STATE) as folder:
            for name, tensors in files.items():
                save_file(tensors, folder / name)
            (folder / STATE).write_text(json.dumps(description))
        for old in checkpoints(run)[: -self.keep]:
            if not _is_permanent(run, old):
                run.store.remove(old)

    def wait(self) -> None:
        """Until the last checkpoint is in the store. Raises what its writing raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.wait()
        except Exception:
            if kind is None:
                raise
            log.exception("%s: the last checkpoint was not written", self.run.name)
        finally:
            self._thread.shutdown()


def _copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the host, where the next step does not change them."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }


def checkpoints(run: Run) -> list[str]:
    """Complete checkpoints of the run's lineage, oldest first."""
    states = run.store.glob(f"{run.folder}/steps/*/{STATE}")
    folders = [rel.removesuffix(f"/{STATE}") for rel in states]
    return [folder for folder in folders if _lineage(run, f"{folder}/{STATE}") == run.lineage]


def _lineage(run: Run, rel: str) -> str:
    return str(run.store.read_json(rel).get("lineage", "unknown"))


def remove_finished(run: Run) -> None:
    """Remove the checkpoints of a finished run but the permanent ones and the last, from which it
    resumes when `train.steps` is raised."""
    for folder in checkpoints(run)[:-1]:
        if not _is_permanent(run, folder):
            run.store.remove(folder)


def _is_permanent(run: Run, folder: str) -> bool:
    every = run.trainer.keep_every
    return every > 0 and int(folder.rsplit("/", 1)[1]) % every == 0


def prepare_folder(run: Run) -> None:
    """Make sure that the run's folder holds only files of the run's own lineage.

    A training with other settings or data found there is moved aside as a whole, and an earlier one
    of this lineage is moved back. Half-written checkpoints are removed. Raises `TrainingError` for
    a finished run that should continue with another schedule and has no checkpoint left.
    """
    store, aside = run.store, f"{run.folder}.before-"
    store.tidy(run.folder)  # half-written checkpoints: tens of gigabytes each at full size
    descriptions = store.glob(f"{run.folder}/steps/*/{STATE}")
    descriptions += store.glob(f"{run.folder}/*/{EXPORTED}")
    if not descriptions:
        store.remove(run.folder)  # it holds no more than a log
    for other in {_lineage(run, rel)[:8] for rel in descriptions} - {run.lineage[:8]}:
        if store.move(run.folder, f"{aside}{other}"):
            log.warning(
                "%s: settings or data have changed; what the earlier ones trained is kept in %s",
                *(run.name, store.uri(f"{aside}{other}")),
            )
    own = f"{aside}{run.lineage[:8]}"
    # Some object stores keep an emptied prefix, which would count as existing.
    if not store.glob(f"{run.folder}/*") and store.move(own, run.folder):
        log.info("%s: earlier settings and data again, moved back what they trained", run.name)
    if not checkpoints(run) and not run.is_done():
        _refuse_to_start_over(run)
        for name in ("log.jsonl", "tensorboard", "strips"):
            store.remove(f"{run.folder}/{name}")


def resume(
    run: Run,
    model: nn.Module,
    ema: EMA | None,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    config: TrainConfig,
) -> None:
    """Load the newest checkpoint, if there is one; a finished run resumes when `train.steps` was
    raised. Raises `TrainingError` for a checkpoint beyond `config.steps`."""
    folders = checkpoints(run)
    if not folders:
        return
    description = run.store.read_json(f"{folders[-1]}/{STATE}")
    state.step, state.skipped_steps = description["step"], description["skipped_steps"]
    state.skipped_in_a_row = description.get("skipped_in_a_row", 0)
    if state.step > config.steps:
        raise TrainingError(
            f"{run.name}: {run.store.uri(folders[-1])} is beyond train.steps {config.steps}: raise "
            "that, or move the checkpoint away"
        )
    with run.store.reading_folder(folders[-1]) as folder:
        model.load_state_dict(load_file(folder / "model.safetensors"))
        moments = load_file(folder / "optimizer.safetensors")
        if ema is not None:
            averaged = load_file(folder / "average.safetensors")
            for weight, (name, _) in zip(ema.weights, model.named_parameters(), strict=True):
                weight.copy_(averaged[name])
    _load_moments(model, optimizer, moments)
    log.info("%s: resuming from step %d", run.name, state.step)
    if description["fingerprint"] != run.fingerprint:
        log.warning(
            "%s: with another schedule (%s) than before: the result is that of the new one from "
            "the start only if the steps so far would have been the same",
            *(run.name, ", ".join(config.schedule)),
        )


def _refuse_to_start_over(run: Run) -> None:
    """A finished run of this lineage whose last checkpoint is gone can't continue; training it from
    the start would silently replace its result."""
    rel = f"{run.final}/{EXPORTED}"
    if run.store.exists(rel) and _lineage(run, rel) == run.lineage:
        step = run.store.read_json(rel)["step"]
        raise TrainingError(
            f"{run.name} was finished at step {step} with another schedule, and its last "
            f"checkpoint is gone: set the schedule back, or move {run.store.uri(run.folder)} away "
            "to train from the start"
        )


def _load_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]
) -> None:
    index = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in moments.items():
        owner, key = name.rsplit("/", 1)
        entries.setdefault(index[owner], {})[key] = value
    load_moments(optimizer, entries)


def export(run: Run, task: Task, ema: EMA, step: int, name: str) -> None:
    """Export the averaged weights as users load them, with a record of what they were made from."""
    with run.store.writing_folder(f"{run.folder}/{name}", EXPORTED) as folder:
        with ema.applied_to(task.model) as model:
            task.export(model, folder)
        description = {
            "name": run.name,
            "step": step,
            "fingerprint": run.fingerprint,
            "lineage": run.lineage,
            "made_from": dict(run.sources),
        }
        (folder / EXPORTED).write_text(json.dumps(description, indent=2))
