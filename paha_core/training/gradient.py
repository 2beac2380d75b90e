"""The gradient of one step: micro-batches one after the other, on threads, or over processes."""

from __future__ import annotations

import contextlib
import copy
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from paha_core.config import TrainConfig, TrainerConfig
from paha_core.training.distributed import Ranks
from paha_core.training.run import Task, Told, TrainingError

KNOBS = (
    "trainer.precision bf16; univdm.gradient_checkpointing true; a smaller train.micro_batch (the "
    "same training, in more turns); fewer train.frames"
)


class Objective(nn.Module):
    """A task's loss as a module's forward: what DistributedDataParallel's hooks hang on."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, number: int) -> tuple[torch.Tensor, Told]:
        return self.task.loss(self.model, number)


class Gradient:
    """The gradient of a step's micro-batches; `replicas` threads or `ranks` processes share them.

    PyTorch's own threads gain little on small networks; one thread for each micro-batch nearly
    doubles what two cores do. Replicas share the weights and are added up in a fixed order, so the
    result does not depend on who is done first.
    """

    def __init__(
        self, task: Task, config: TrainConfig, trainer: TrainerConfig, ranks: Ranks
    ) -> None:
        self.task = task
        _, self.times = config.shares(ranks.world)
        self.device = next(task.model.parameters()).device
        self.half = trainer.precision == "bf16"
        self.models = [task.model] + [_sharing(task.model) for _ in range(config.replicas - 1)]
        self.pool = ThreadPoolExecutor(config.replicas) if config.replicas > 1 else None
        if self.pool is not None and (trainer.compile or ranks.world > 1):
            raise TrainingError(
                "train.replicas are threads of one CPU process: set replicas to 1 with "
                "trainer.compile or several processes"
            )
        if trainer.compile:
            task.model.compile()  # in place: same weights, same names
        self.objectives: list[nn.Module] = [Objective(task, model) for model in self.models]
        if ranks.world > 1:
            self.objectives = [_distributed(self.objectives[0], self.device)]

    def at(self, step: int) -> tuple[torch.Tensor, Told]:
        """Leaves the gradient in the task's model; returns the mean loss and figures."""
        numbers = range(step * self.times, (step + 1) * self.times)
        if self.pool is None:
            results = [self._part(self.objectives[0], number, numbers[-1]) for number in numbers]
        else:
            size = len(self.objectives)
            results = []
            for turn in range(0, self.times, size):
                jobs = zip(self.objectives, numbers[turn : turn + size], strict=True)
                results += list(self.pool.map(lambda job: self._part(*job), jobs))
            self._collect()
        return torch.stack([loss for loss, _ in results]).mean(), means([f for _, f in results])

    def autocast(self) -> torch.autocast:
        """bfloat16 where the trainer's precision says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _part(
        self, objective: nn.Module, number: int, last: int | None = None
    ) -> tuple[torch.Tensor, Told]:
        if self.pool is not None:
            torch.set_num_threads(1)
        alone: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if isinstance(objective, DistributedDataParallel) and number != last:
            alone = objective.no_sync()  # the processes' sum comes with the last micro-batch
        with alone:
            with self.autocast():
                loss, figures = objective(number)
            (loss / self.times).backward()
        return loss.detach(), figures

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


def _distributed(objective: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Gradients averaged over the processes while the backward pass still runs."""
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(objective, device_ids=ids, gradient_as_bucket_view=True)


def means(told: list[Told]) -> Told:
    """Each figure's mean where it is a number, without reading any from a device."""
    if len(told) == 1:
        return told[0]
    names = dict.fromkeys(name for figures in told for name in figures)
    values = {name: [torch.as_tensor(f[name]) for f in told if name in f] for name in names}
    return {name: torch.stack(found).float().nanmean() for name, found in values.items()}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the host."""
    words = str(error)
    on_host = "can't allocate memory" in words or "not enough memory" in words
    return isinstance(error, torch.OutOfMemoryError) or on_host


def out_of_memory(config: TrainConfig, world: int, step: int, error: BaseException) -> str:
    """What to turn down, in the order of what it costs."""
    said = str(error).splitlines()[0][:200]
    micro, _ = config.shares(world)
    return (
        f"out of memory at step {step} with {micro} samples at once. In "
        f"this order: {KNOBS}. `paha plan` tells what a preset needs. ({said})"
    )
