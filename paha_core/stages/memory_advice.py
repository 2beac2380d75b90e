"""Which settings of a preset lower the memory of a stage that does not fit a GPU."""

from __future__ import annotations

from paha_core.config import Preset, TrainConfig
from paha_core.training.gradient import CHECKPOINTING

Levers = dict[str, bool]  # a change of the preset: whether it changes anything


def memory_advice(preset: Preset, stage: str, gpus: int = 1) -> str:
    """The changes that still lower the stage's memory, the cheapest first; empty: none does."""
    levers = {
        "training_shards": {"a smaller codec.batch": preset.codec.batch > 1},
        "univdm": _univdm(preset, gpus),
        "negative_samples": {
            "negatives.precision bf16": preset.negatives.precision != "bf16",
            "a smaller negatives.batch": preset.negatives.batch > 1,
        },
        "classifiers": _classifiers(preset, gpus),
        "generated_clips": _generation(preset),
        "table3 trainings": _univdm(preset, gpus) | _classifiers(preset, gpus),
        "tables": _generation(preset),
    }[stage]
    return "; ".join(change for change, moves in levers.items() if moves)


def _training(preset: Preset, name: str, train: TrainConfig, gpus: int) -> Levers:
    trainer, (micro_batch, _) = preset.trainer, train.shares(gpus)
    in_turns = f"a smaller {name}.train.micro_batch (the same training, in more turns)"
    whole_moments = trainer.optimizer_bits == 32 and not trainer.shard_optimizer
    return {
        "trainer.precision bf16": trainer.precision != "bf16",
        CHECKPOINTING: not preset.univdm.gradient_checkpointing,
        in_turns: micro_batch > 1,
        "trainer.shard_optimizer true": whole_moments and gpus > 1,
        "trainer.optimizer_bits 8": whole_moments and gpus == 1,
    }


def _univdm(preset: Preset, gpus: int) -> Levers:
    train = preset.univdm.train
    return _training(preset, "univdm", train, gpus) | {
        "fewer univdm.train.frames": train.frames > 2
    }


def _classifiers(preset: Preset, gpus: int) -> Levers:
    longest = max(preset.negatives.lengths_within(preset.classifiers.max_frames))
    return _training(preset, "classifiers", preset.classifiers.train, gpus) | {
        "shorter negatives.lengths": longest > 2
    }


def _generation(preset: Preset) -> Levers:
    generation = preset.generation
    guided = generation.modes != ("unguided",)
    return {
        "generation.precision bf16": generation.precision != "bf16",
        "generation.gradient_checkpointing true": guided and not generation.recomputes,
        "generation.offload true": not generation.offload,
        "a smaller generation.batch": generation.batch > 1,
        "a smaller codec.batch": preset.codec.batch > 1,
        "generation.weights int8": generation.weights != "int8",
        "generation.offload_layers true": not (generation.offload_layers or generation.compile),
    }
