"""The gradient of one step: micro-batches one after the other, on threads, or over processes."""

from __future__ import annotations

import contextlib
import copy
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from paha_core.config import TrainConfig, TrainerConfig
from paha_core.trained import ADAPTER, CLASSIFIERS, CODEC, UNIVDM
from paha_core.training.compiled import check_gradient, compile_model
from paha_core.training.distributed import Distributed
from paha_core.training.run import Metrics, Task, TrainingError

CHECKPOINTING = "univdm.gradient_checkpointing true"
MEMORY_ADVICE = (
    f"trainer.precision bf16; {CHECKPOINTING}; a smaller train.micro_batch (the same training, in "
    "more turns); trainer.shard_optimizer with several processes; fewer train.frames"
)


class LossModule(nn.Module):
    """A task's loss as a module's forward, so that DistributedDataParallel can add its hooks."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, number: int) -> tuple[torch.Tensor, Metrics]:
        return self.task.loss(self.model, number)


class GradientAccumulation:
    """The gradient of a step's micro-batches, over `replicas` threads or `dist` processes.

    PyTorch's own threads gain little on small networks; one thread for each micro-batch nearly
    doubles what two cores do. Replicas share the weights and their gradients are summed in a fixed
    order, so the result does not depend on which thread finishes first.
    """

    def __init__(
        self, task: Task, config: TrainConfig, trainer: TrainerConfig, dist: Distributed
    ) -> None:
        self.task = task
        _, self.turns = config.shares(dist.world_size)
        self.device = next(task.model.parameters()).device
        self.bf16 = trainer.precision == "bf16"
        self.models = [task.model] + [_replica(task.model) for _ in range(config.replicas - 1)]
        self.pool = ThreadPoolExecutor(config.replicas) if config.replicas > 1 else None
        if self.pool is not None and (trainer.compile or dist.world_size > 1):
            raise TrainingError(
                "train.replicas are threads of one CPU process: set replicas to 1 with "
                "trainer.compile or several processes"
            )
        self.precision, self.unchecked = trainer.precision, trainer.compile
        if trainer.compile:
            compile_model(task.model, trainer, self.device)
        self.summary = _summary(task.model, config, trainer, dist)
        self.losses: list[nn.Module] = [LossModule(task, model) for model in self.models]
        if dist.world_size > 1:
            self.losses = [_distributed(self.losses[0], self.device)]

    def compute(self, step: int) -> tuple[torch.Tensor, Metrics]:
        """Leaves the step's gradient in the task's model; returns the mean loss and metrics.

        The first one of a compiled network is compared with the eager one.
        """
        if self.unchecked:
            self.unchecked = False
            compiled = self._flat_gradient(step)
            with torch.compiler.set_stance("force_eager"):
                check_gradient(compiled, self._flat_gradient(step), self.precision)
        numbers = range(step * self.turns, (step + 1) * self.turns)
        if self.pool is None:
            results = [self._backward(self.losses[0], number, numbers[-1]) for number in numbers]
        else:
            size = len(self.losses)
            results = []
            for turn in range(0, self.turns, size):
                jobs = zip(self.losses, numbers[turn : turn + size], strict=True)
                results += list(self.pool.map(lambda job: self._backward(*job), jobs))
            self._sum_replicas()
        return torch.stack([loss for loss, _ in results]).mean(), nanmeans([m for _, m in results])

    def _flat_gradient(self, step: int) -> torch.Tensor:
        """The step's gradient as one vector on the host; none is left in the model."""
        self.compute(step)
        parameters = list(self.task.model.parameters())
        flat = torch.cat([p.grad.flatten().cpu() for p in parameters if p.grad is not None])
        self.task.model.zero_grad(set_to_none=True)
        return flat

    def autocast(self) -> torch.autocast:
        """Autocast to bfloat16 with `trainer.precision: bf16`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _backward(
        self, loss_module: nn.Module, number: int, last: int | None = None
    ) -> tuple[torch.Tensor, Metrics]:
        if self.pool is not None:
            torch.set_num_threads(1)
        sync: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if isinstance(loss_module, DistributedDataParallel) and number != last:
            sync = loss_module.no_sync()  # the processes' gradients are summed with the last one
        with sync:
            with self.autocast():
                loss, metrics = loss_module(number)
            (loss / self.turns).backward()
        return loss.detach(), metrics

    @torch.no_grad()
    def _sum_replicas(self) -> None:
        for replica in self.models[1:]:
            for parameter, other in zip(
                self.models[0].parameters(), replica.parameters(), strict=True
            ):
                if parameter.grad is not None and other.grad is not None:
                    parameter.grad += other.grad
                    other.grad = None


def _summary(
    model: nn.Module, config: TrainConfig, trainer: TrainerConfig, dist: Distributed
) -> str:
    """How steps are taken on this machine, as a line of the log."""
    micro, _ = config.shares(dist.world_size)
    device = next(model.parameters()).device.type
    recomputed = any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    shared = trainer.shard_optimizer and dist.world_size > 1
    parts = [
        f"{config.batch} samples a step, {micro} at once on each of {dist.world_size} x {device}",
        trainer.precision,
        "compiled" if trainer.compile else "eager",
        f"activations {'recomputed' if recomputed else 'kept'}",
        f"moments in {trainer.optimizer_bits} bits" + (", shared by all" if shared else ""),
    ]
    if config.replicas > 1:
        parts.append(f"{config.replicas} threads")
    return "; ".join(parts)


def _replica(model: nn.Module) -> nn.Module:
    """A copy that shares the weights in memory and has its own gradients."""
    replica = copy.deepcopy(model)
    for parameter, original in zip(replica.parameters(), model.parameters(), strict=True):
        parameter.data = original.data
    return replica.train()


def _distributed(loss_module: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Gradients averaged over the processes while the backward pass still runs."""
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(loss_module, device_ids=ids, gradient_as_bucket_view=True)


def nanmeans(metrics: list[Metrics]) -> Metrics:
    """The mean of each metric over its values that are not NaN, without a device sync."""
    if len(metrics) == 1:
        return metrics[0]
    names = dict.fromkeys(name for each in metrics for name in each)
    values = {name: [torch.as_tensor(m[name]) for m in metrics if name in m] for name in names}
    return {name: torch.stack(tensors).float().nanmean() for name, tensors in values.items()}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the host."""
    message = str(error)
    on_host = "can't allocate memory" in message or "not enough memory" in message
    return isinstance(error, torch.OutOfMemoryError) or on_host


def memory_advice(name: str) -> str:
    """Which settings of the network to lower, in the order of what they cost."""
    if name in (UNIVDM, ADAPTER):
        return MEMORY_ADVICE
    advice = ["trainer.precision bf16"]
    if name in CLASSIFIERS:
        advice += [CHECKPOINTING, "classifiers.train.micro_batch 1", "shorter negatives.lengths"]
    elif name == CODEC:
        advice += ["a smaller codec.train.micro_batch", "fewer codec.max_frames"]
    else:
        advice = [f"fewer {name} clips in memory: a smaller corpus, or a larger machine"]
    return "; ".join(advice)


def out_of_memory_message(
    name: str, config: TrainConfig, world_size: int, step: int, error: BaseException
) -> str:
    """What to do after an allocation failed."""
    cause = str(error).splitlines()[0][:200]
    micro_batch, _ = config.shares(world_size)
    return (
        f"out of memory at step {step} with {micro_batch} samples at once. In "
        f"this order: {memory_advice(name)}. `paha plan` prints what a preset needs. ({cause})"
    )
