"""Checkpoints of a run: weights, their average, the optimizer's moments, and the step.

Each is a folder that appears whole or not at all; what a kill left half-written has another name
and is cleared away by the next start. Random numbers and the data's position follow from the step.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paha_core.training.ema import Average
from paha_core.training.run import Run, State, Task, TrainingError

log = logging.getLogger("paha")

STATE = "state.json"
EXPORTED = "training.json"


def save(
    run: Run,
    model: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    state: State,
    keep: int,
) -> None:
    """Write the checkpoint of `state.step`; the last `keep` stay, and those kept for good."""
    names = [name for name, _ in model.named_parameters()]
    moments = {
        f"{names[i]}/{key}": value
        for i, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }
    described = asdict(state) | {"fingerprint": run.fingerprint, "lineage": run.lineage}
    with run.store.writing_folder(f"{run.folder}/steps/{state.step:08d}", STATE) as folder:
        save_file(
            {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
        )
        save_file(dict(zip(names, average.weights, strict=True)), folder / "average.safetensors")
        save_file(moments, folder / "optimizer.safetensors")
        (folder / STATE).write_text(json.dumps(described))
    for old in checkpoints(run)[:-keep]:
        if not _for_good(run, old):
            run.store.remove(old)


def checkpoints(run: Run) -> list[str]:
    """Whole checkpoints of the run's lineage, oldest first."""
    found = run.store.glob(f"{run.folder}/steps/*/{STATE}")
    folders = [rel.removesuffix(f"/{STATE}") for rel in found]
    return [folder for folder in folders if _lineage(run, f"{folder}/{STATE}") == run.lineage]


def _lineage(run: Run, mark: str) -> str:
    return str(run.store.read_json(mark).get("lineage", "unknown"))


def clear(run: Run) -> None:
    """Remove the checkpoints of a finished run but those kept for good."""
    found = checkpoints(run)
    for rel in found:
        if not _for_good(run, rel):
            run.store.remove(rel)
    if not any(_for_good(run, rel) for rel in found):
        run.store.remove(f"{run.folder}/steps")


def _for_good(run: Run, rel: str) -> bool:
    every = run.trainer.keep_every
    return every > 0 and int(rel.rsplit("/", 1)[1]) % every == 0


def claim(run: Run) -> None:
    """Make the run's folder its own.

    What was trained there with other settings or data is set aside as a whole, and what these
    settings and data had trained before comes back. What a kill left half-written is removed.
    """
    store, aside = run.store, f"{run.folder}.before-"
    store.tidy(run.folder)  # of what a kill left half-written: at full size tens of gigabytes each
    marks = store.glob(f"{run.folder}/steps/*/{STATE}") + store.glob(f"{run.folder}/*/{EXPORTED}")
    if not marks:
        store.remove(run.folder)  # it holds no more than a log
    for other in {_lineage(run, mark)[:8] for mark in marks} - {run.lineage[:8]}:
        if store.move(run.folder, f"{aside}{other}"):
            log.warning(
                "%s: settings or data are others than before; what those made is kept in %s",
                *(run.name, store.uri(f"{aside}{other}")),
            )
    own = f"{aside}{run.lineage[:8]}"
    if not store.exists(run.folder) and store.move(own, run.folder):
        log.info("%s: these settings and data are back, and what they made", run.name)
    if not checkpoints(run) and not run.is_done():
        for told in ("log.jsonl", "tensorboard", "strips"):
            store.remove(f"{run.folder}/{told}")


def resume(
    run: Run,
    model: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    state: State,
    steps: int,
) -> None:
    """Load the newest checkpoint, if there is one; `TrainingError` for one beyond `steps`."""
    found = checkpoints(run)
    if not found:
        return
    about = run.store.read_json(f"{found[-1]}/{STATE}")
    state.step, state.skipped_steps = about["step"], about["skipped_steps"]
    if state.step > steps:
        raise TrainingError(
            f"{run.name}: {run.store.uri(found[-1])} is beyond train.steps {steps}: raise that, or "
            "move the checkpoint away"
        )
    with run.store.reading_folder(found[-1]) as folder:
        model.load_state_dict(load_file(folder / "model.safetensors"))
        weights = load_file(folder / "average.safetensors")
        moments = load_file(folder / "optimizer.safetensors")
    for kept, (name, _) in zip(average.weights, model.named_parameters(), strict=True):
        kept.copy_(weights[name])
    _load_moments(model, optimizer, moments)
    log.info("%s: going on from step %d", run.name, state.step)
    if about["fingerprint"] != run.fingerprint:
        log.warning("%s: with another schedule (steps, learning rate) than before", run.name)


def _load_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]
) -> None:
    index = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in moments.items():
        parameter, key = name.rsplit("/", 1)
        entries.setdefault(index[parameter], {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": entries})


def export(run: Run, task: Task, average: Average, step: int, name: str) -> None:
    """The averaged weights as users load them, with what they were made from."""
    with run.store.writing_folder(f"{run.folder}/{name}", EXPORTED) as folder:
        with average.applied(task.model) as model:
            task.export(model, folder)
        described = {
            "name": run.name,
            "step": step,
            "fingerprint": run.fingerprint,
            "lineage": run.lineage,
            "made_from": dict(run.sources),
        }
        (folder / EXPORTED).write_text(json.dumps(described, indent=2))
