"""Checkpoints of a run: weights, their average, the optimizer's moments, and the step.

Each is a folder that appears whole or not at all; what a kill left half-written has another name
and is cleared away by the next start. Random numbers and the data's position follow from the step.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paha_core.training.average import Average
from paha_core.training.run import Run, Task

log = logging.getLogger("paha")


def save(
    run: Run,
    model: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> None:
    """Write the checkpoint of `state["step"]`; the last `keep` stay, and those kept for good."""
    names = [name for name, _ in model.named_parameters()]
    moments = {
        f"{names[i]}/{key}": value
        for i, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }
    with run.store.writing_folder(f"{run.folder}/steps/{state['step']:08d}") as folder:
        save_file(
            {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
        )
        save_file(dict(zip(names, average.weights, strict=True)), folder / "average.safetensors")
        save_file(moments, folder / "optimizer.safetensors")
        (folder / "state.json").write_text(json.dumps(state | {"fingerprint": run.fingerprint}))
    for old in checkpoints(run)[:-keep]:
        if not _for_good(run, old):
            run.store.remove(old)


def checkpoints(run: Run) -> list[str]:
    """Whole checkpoints, oldest first."""
    found = run.store.glob(f"{run.folder}/steps/*/state.json")
    folders = [rel.removesuffix("/state.json") for rel in found]
    return [folder for folder in folders if folder.rsplit("/", 1)[1].isdigit()]


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


def start_over(run: Run) -> None:
    """Clear away what was made with other settings or data, and what a kill left half-written."""
    run.store.tidy(run.folder)  # at full size tens of gigabytes each
    for rel in checkpoints(run):
        if run.store.read_json(f"{rel}/state.json")["fingerprint"] != run.fingerprint:
            run.store.remove(rel)
    if not checkpoints(run):
        for told in ("log.jsonl", "tensorboard", "strips"):
            run.store.remove(f"{run.folder}/{told}")


def resume(
    run: Run, model: nn.Module, average: Average, optimizer: torch.optim.Optimizer, world: int
) -> dict[str, int]:
    """Load the newest checkpoint; without one the state of a run that begins."""
    found = checkpoints(run)
    if not found:
        return {"step": 0, "bad_steps": 0, "world": world}
    state = run.store.read_json(f"{found[-1]}/state.json")
    with run.store.reading_folder(found[-1]) as folder:
        model.load_state_dict(load_file(folder / "model.safetensors"))
        weights = load_file(folder / "average.safetensors")
        moments = load_file(folder / "optimizer.safetensors")
    for kept, (name, _) in zip(average.weights, model.named_parameters(), strict=True):
        kept.copy_(weights[name])
    _load_moments(model, optimizer, moments)
    log.info("%s: going on from step %d", run.name, state["step"])
    before = state.get("world", 1)
    if before != world:
        log.warning(
            "%s: %d processes now, %d before: batches of another size, other clips from here on",
            *(run.name, world, before),
        )
    return {"step": state["step"], "bad_steps": state["bad_steps"], "world": world}


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
    with run.store.writing_folder(f"{run.folder}/{name}") as folder:
        with average.applied(task.model) as model:
            task.export(model, folder)
        described = {"fingerprint": run.fingerprint, "step": step, "name": run.name}
        (folder / "training.json").write_text(json.dumps(described, indent=2))
