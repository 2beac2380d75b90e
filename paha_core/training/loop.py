"""The one training loop: codec, UniVDM, classifiers and pose autoencoder all go through `fit`.

A run is a pure function of its task and settings: every step draws its noise and its data from the
step's number, never from a running state. So a checkpoint is weights, optimizer and the step, and a
run that was killed goes on to the same losses, to the last bit, as one that was not.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paha_core.config import TrainConfig
from paha_core.progress import Progress
from paha_core.store import Store

log = logging.getLogger("paha")
INTERRUPTED = 75  # exit code of a run that saved itself on SIGTERM and wants to be started again

Figures = dict[str, float]


class TrainingError(RuntimeError):
    """A run that can't go on; the message says where and what to do."""


class Interrupted(Exception):
    """SIGTERM came; everything up to this step is saved."""


class Task(Protocol):
    """What `fit` trains."""

    model: nn.Module

    def loss(self, model: Any, step: int) -> tuple[torch.Tensor, Figures]:
        """The loss of `model` at step `step`, a pure function of both, and figures for the log."""
        ...

    def validate(self, model: Any) -> Figures:
        """Figures on held-out data with fixed noise; names start with `validation_`."""
        ...

    def export(self, model: Any, folder: Path) -> None:
        """Save `model` as users load it."""
        ...


@dataclass
class Run:
    """Where a run keeps its things, and who hears of it."""

    store: Store
    name: str
    fingerprint: str
    on_figures: Callable[[int, Figures], None] = lambda step, figures: None
    milestones: Mapping[int, str] = field(
        default_factory=dict
    )  # step -> name of an export kept for good
    log_every: int = 10

    @property
    def folder(self) -> str:
        return f"checkpoints/{self.name}"

    @property
    def final(self) -> str:
        return f"{self.folder}/final"

    def is_done(self, export: str = "final") -> bool:
        """Whether that export is there and was made from the same settings and data."""
        rel = f"{self.folder}/{export}/training.json"
        return (
            self.store.exists(rel) and self.store.read_json(rel)["fingerprint"] == self.fingerprint
        )


def fit(task: Task, config: TrainConfig, run: Run) -> bool:
    """Train `task` to `config.steps` steps, from the last checkpoint if there is one.

    Returns whether anything had to be done. Raises `Interrupted` on SIGTERM after saving, and
    `TrainingError` when more than `config.max_bad_steps` steps had a loss or gradient that was not
    finite.
    """
    if run.is_done():
        return False
    # 1. set-up
    optimizer = torch.optim.AdamW(
        task.model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    average = _Average(task.model, config.ema)
    state = _resume(run, task.model, average, optimizer)
    journal = _Journal(run, state["step"])
    stop = _StopFlag()
    bad = state["bad_steps"]
    clock = time.monotonic()
    progress = Progress(config.steps - state["step"], run.name, unit="step")
    task.model.train()
    gradient = _Gradient(task, config)

    for step in range(state["step"], config.steps):
        # 2. gradient
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        loss, figures = gradient.at(step)
        norm = nn.utils.clip_grad_norm_(task.model.parameters(), config.clip_norm)

        # 3. step, unless it would spoil the weights
        if torch.isfinite(loss) and torch.isfinite(norm):
            optimizer.step()
            average.update(task.model, step)
        else:
            bad += 1
            log.warning("%s: step %d is not finite (%d so far), skipped", run.name, step, bad)
        optimizer.zero_grad(set_to_none=True)
        if bad > config.max_bad_steps:
            raise TrainingError(
                f"{run.name}: {bad} steps were not finite, the last one {step}. The last good "
                f"checkpoint is in {run.store.uri(run.folder)}/steps; lower learning_rate"
            )

        # 4. tell
        done = step + 1
        if done % run.log_every == 0 or done == config.steps:
            rate = run.log_every / max(time.monotonic() - clock, 1e-9)
            clock = time.monotonic()
            figures |= {
                "loss": loss.item(),
                "gradient_norm": norm.item(),
                "learning_rate": learning_rate(config, step),
                "samples_per_second": rate * config.batch * config.accumulate,
            }
            journal.write(done, figures)
            run.on_figures(done, figures)
        progress.update(note=f"loss {loss.item():.4f}")
        if done % config.validate_every == 0 or done == config.steps:
            with average.applied(task.model) as model:
                held_out = task.validate(model)
            journal.write(done, held_out)
            run.on_figures(done, held_out)
            clock = time.monotonic()

        # 5. save
        if done in run.milestones:
            _export(run, task, average, done, run.milestones[done])
        if done % config.checkpoint_every == 0 or stop.asked or done == config.steps:
            _save(
                run, task.model, average, optimizer, {"step": done, "bad_steps": bad}, config.keep
            )
            journal.publish()
        if stop.asked and done < config.steps:
            raise Interrupted(f"{run.name}: stopped at step {done} of {config.steps}, saved")

    progress.close()
    journal.publish()
    _export(run, task, average, config.steps, "final")
    run.store.remove(f"{run.folder}/steps")
    return True


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant or a half cosine down to 2 %."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.decay == "constant":
        return config.learning_rate
    share = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: the same whoever draws them, and after any restart."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63))


class _Gradient:
    """The gradient of a step's micro-batches, `replicas` of them side by side.

    PyTorch's own threads gain little on small networks; one thread for each micro-batch nearly
    doubles what two cores do. Replicas share the weights and are added up in a fixed order, so the
    result does not depend on who is done first.
    """

    def __init__(self, task: Task, config: TrainConfig) -> None:
        self.task, self.accumulate = task, config.accumulate
        self.models = [task.model] + [_sharing(task.model) for _ in range(config.replicas - 1)]
        self.pool = ThreadPoolExecutor(config.replicas) if config.replicas > 1 else None

    def at(self, step: int) -> tuple[torch.Tensor, Figures]:
        """Leaves the gradient in the task's model; returns mean loss and the last figures."""
        numbers = range(step * self.accumulate, (step + 1) * self.accumulate)
        if self.pool is None:
            results = [self._part(self.models[0], number) for number in numbers]
        else:
            size = len(self.models)
            results = []
            for turn in range(0, self.accumulate, size):
                jobs = zip(self.models, numbers[turn : turn + size], strict=True)
                results += list(self.pool.map(lambda job: self._part(*job), jobs))
            self._collect()
        return torch.stack([loss for loss, _ in results]).mean(), results[-1][1]

    def _part(self, model: nn.Module, number: int) -> tuple[torch.Tensor, Figures]:
        if self.pool is not None:
            torch.set_num_threads(1)
        loss, figures = self.task.loss(model, number)
        (loss / self.accumulate).backward()
        return loss.detach().cpu(), figures

    @torch.no_grad()
    def _collect(self) -> None:
        for replica in self.models[1:]:
            for parameter, other in zip(
                self.models[0].parameters(), replica.parameters(), strict=True
            ):
                if parameter.grad is not None and other.grad is not None:
                    parameter.grad += other.grad
                    other.grad = None


def _sharing(model: nn.Module) -> nn.Module:
    """A copy with the same weights in memory and gradients of its own."""
    replica = copy.deepcopy(model)
    for parameter, original in zip(replica.parameters(), model.parameters(), strict=True):
        parameter.data = original.data
    return replica.train()


class _Average:
    """Exponential moving average of the weights, with the usual short memory at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, [p.detach() for p in model.parameters()], 1 - decay)

    def applied(self, model: nn.Module) -> _Applied:
        return _Applied(model, self.weights)


class _Applied:
    """Within the block the model holds the averaged weights and is in eval mode."""

    def __init__(self, model: nn.Module, weights: list[torch.Tensor]) -> None:
        self.model, self.weights = model, weights

    def _swap(self) -> None:
        for parameter, weight in zip(self.model.parameters(), self.weights, strict=True):
            parameter.data, weight.data = weight.data, parameter.data

    def __enter__(self) -> nn.Module:
        self._swap()
        return self.model.eval()

    def __exit__(self, *_: object) -> None:
        self._swap()
        self.model.train()


class _StopFlag:
    """Set by SIGTERM; a step is never cut in the middle."""

    def __init__(self) -> None:
        self.asked = False
        with contextlib.suppress(ValueError):  # not in the main thread: somebody else handles it
            signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True


class _Journal:
    """`log.jsonl`: one line of figures a while; lines after the step a run resumes from are
    dropped."""

    def __init__(self, run: Run, step: int) -> None:
        self.run, self.rel = run, f"{run.folder}/log.jsonl"
        text = run.store.read_bytes(self.rel).decode() if run.store.exists(self.rel) else ""
        old = [json.loads(line) for line in text.splitlines()]
        self.lines = [line for line in old if line["step"] <= step]

    def write(self, step: int, figures: Figures) -> None:
        self.lines.append({"step": step} | {k: round(v, 8) for k, v in figures.items()})

    def publish(self) -> None:
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        self.run.store.write_bytes(self.rel, text.encode())


# --- checkpoints ----------------------------------------------------------------------------------


def _save(
    run: Run,
    model: nn.Module,
    average: _Average,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> None:
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
    for old in _checkpoints(run)[:-keep]:
        run.store.remove(old)


def _checkpoints(run: Run) -> list[str]:
    """Whole checkpoints, oldest first; what a kill left half-written has another name."""
    found = run.store.glob(f"{run.folder}/steps/*/state.json")
    folders = [rel.removesuffix("/state.json") for rel in found]
    return [folder for folder in folders if folder.rsplit("/", 1)[1].isdigit()]


def _resume(
    run: Run, model: nn.Module, average: _Average, optimizer: torch.optim.Optimizer
) -> dict[str, int]:
    """Load the newest checkpoint made with the same settings and data; others are removed."""
    for rel in reversed(_checkpoints(run)):
        state = run.store.read_json(f"{rel}/state.json")
        if state["fingerprint"] != run.fingerprint:
            run.store.remove(rel)
            continue
        with run.store.reading_folder(rel) as folder:
            model.load_state_dict(load_file(folder / "model.safetensors"))
            weights = load_file(folder / "average.safetensors")
            moments = load_file(folder / "optimizer.safetensors")
        average.weights = [weights[name] for name, _ in model.named_parameters()]
        _load_moments(model, optimizer, moments)
        log.info("%s: going on from step %d", run.name, state["step"])
        return {"step": state["step"], "bad_steps": state["bad_steps"]}
    run.store.remove(f"{run.folder}/log.jsonl")
    return {"step": 0, "bad_steps": 0}


def _load_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]
) -> None:
    index = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in moments.items():
        parameter, key = name.rsplit("/", 1)
        entries.setdefault(index[parameter], {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": entries})


def _export(run: Run, task: Task, average: _Average, step: int, name: str) -> None:
    with run.store.writing_folder(f"{run.folder}/{name}") as folder:
        with average.applied(task.model) as model:
            task.export(model, folder)
        described = {"fingerprint": run.fingerprint, "step": step, "name": run.name}
        (folder / "training.json").write_text(json.dumps(described, indent=2))
