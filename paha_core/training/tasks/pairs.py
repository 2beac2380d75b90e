"""Training pairs of the classifiers: real windows and their negatives (paper 4.1.3, B.3).

A pair is a generated sample and the real window whose voice it was made for, so that both have the
same speaker, language and sound. In a share of the pairs the negative is the real window itself
with mismatched sound. Both halves of a pair get the same mask decision, timestep and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from paha_core.config import ClassifierConfig
from paha_core.errors import UserError
from paha_core.shards.reader import ShardError, ShardReader
from paha_core.shards.windows import Batch, Cut, Stream, cut, stack
from paha_core.trained import Part
from paha_core.training.distributed import SINGLE_PROCESS, Distributed
from paha_core.training.run import step_generator


@dataclass(frozen=True, eq=False)
class Samples:
    """Halves of pairs: a batch of windows, masked and clean, `labels` [m] (1 real, 0 negative),
    `timestep` [m] and `noise` [m, C, F, h, w]."""

    batch: Batch
    labels: torch.Tensor
    timestep: torch.Tensor
    noise: torch.Tensor

    def to(self, device: str | torch.device) -> Samples:
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Samples:
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Any) -> Samples:
        return Samples(
            self.batch.each(change),
            *(change(getattr(self, f.name)) for f in fields(self) if f.name != "batch"),
        )


class PairBatches:
    """Micro-batches of halves of pairs: `batch_at(number)` is a pure function of settings and data.

    A step of `config.train.batch` samples is half as many pairs of one length; sample 2 i is pair
    i's real half, sample 2 i + 1 its negative. Random numbers belong to the pair. So the samples of
    a step, and the mean of their losses (equation 7), do not depend on how many of them a process
    takes at once, nor on the number of processes.

    Each run of `len(lengths)` steps holds every length once, in a seeded order. Raises `UserError`
    where no negative has one of the lengths.
    """

    def __init__(
        self,
        real: ShardReader,
        generated: ShardReader,
        part: Part,
        config: ClassifierConfig,
        lengths: tuple[int, ...],
        margin: int,
        dist: Distributed = SINGLE_PROCESS,
    ) -> None:
        self.real, self.generated, self.part, self.config = real, generated, part, config
        self.margin, self.dist, self.seed = margin, dist, config.train.seed
        self.micro_batch, _ = config.train.shares(dist.world_size)
        self.clips = {str(row["clip_id"]): i for i, row in enumerate(real.rows)}
        streams = [
            (Stream(generated, length, self.seed), Stream(real, length, self.seed))
            for length in sorted(set(lengths))
        ]
        self.streams = [pair for pair in streams if pair[0].clips and pair[1].clips]
        if not self.streams:
            raise UserError(f"no negative has {min(lengths, default=0)} frames: make them again")

    def batch_at(self, number: int) -> Samples:
        """Micro-batch `number` of this process."""
        first = (number * self.dist.world_size + self.dist.rank) * self.micro_batch
        halves: list[tuple[Cut, float, torch.Tensor, torch.Tensor]] = []
        for pair in range(first // 2, -(-(first + self.micro_batch) // 2)):
            for half, sample in enumerate(self._samples(pair)):
                if first <= 2 * pair + half < first + self.micro_batch:
                    halves.append(sample)
        cuts, labels, timesteps, noises = zip(*halves, strict=True)
        return Samples(
            stack(cuts), torch.tensor(labels), torch.stack(timesteps), torch.stack(noises)
        )

    def held_out(self, count: int, at_once: int = 2) -> list[tuple[Batch, Batch]]:
        """The first `count` pairs or a few more, unmasked: batches of real windows and of negatives
        of one length each. The lengths take turns."""
        batches = []
        for turn in range(-(-count // at_once)):
            streams = self.streams[turn % len(self.streams)]
            first = turn // len(self.streams) * at_once
            pairs = [self._pair(streams, first + i) for i in range(at_once)]
            batches.append((stack([p[0] for p in pairs]), stack([p[1] for p in pairs])))
        return batches

    def _samples(self, pair: int) -> list[tuple[Cut, float, torch.Tensor, torch.Tensor]]:
        """Both halves: window, label, timestep and noise."""
        pairs = self.config.train.batch // 2
        step, place = divmod(pair, pairs)
        turn, which = divmod(step, len(self.streams))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.streams))
        real, negative = self._pair(self.streams[int(order[which])], turn * pairs + place)
        generator = step_generator(self.seed, pair)
        mismatched, hidden = torch.rand(2, generator=generator).tolist()
        timestep = torch.randint(1000, (), generator=generator)
        noise = torch.randn(np.shape(real["latents"]), generator=generator)
        if mismatched < self.config.mismatched_audio and real["has_mismatch"]:
            negative = real | {"audio": real["mismatched_audio"]}
            timestep = audible(timestep, self.config)
        if hidden < self.config.mask_probability:
            real, negative = (self._masked(half) for half in (real, negative))
        return [(real, 1.0, timestep, noise), (negative, 0.0, timestep, noise)]

    def _pair(self, streams: tuple[Stream, Stream], position: int) -> tuple[Cut, Cut]:
        """The real window and the negative at a position of the stream of negatives; where one of
        them is in a bad shard that is skipped, the next pair."""
        negatives, windows = streams
        for candidate in range(position, position + len(negatives.clips)):
            window = replace(negatives.window(candidate), mismatch=None)
            negative = self.generated.read_or_skip(window.clip)
            if negative is None:
                continue
            clip = self.clips.get(negative.meta["voice"])
            if clip is None:
                raise UserError(f"{negative.meta['voice']} is gone: make the negatives again")
            voice = self.real.read_or_skip(clip)
            if voice is None:
                continue
            rng = np.random.default_rng([self.seed, negatives.frames, candidate])
            start = negative.meta["voice_start"] + window.start
            real = cut(self.real, voice, windows.window_at(clip, start, rng), self.margin)
            generated = cut(self.generated, negative, window, self.margin)
            # A negative's own audio ends at its edges; the real window's is the same sound with its
            # neighbours, as in generation.
            return real, generated | {"audio": real["audio"]}
        bad = ", ".join(sorted({*self.real.bad_shards, *self.generated.bad_shards}))
        raise ShardError(bad, f"{len(negatives.clips)} pairs", "none of them can be read")

    def _masked(self, half: Cut) -> Cut:
        """Only the classifier's own region, in all frames of the clean latents."""
        mask = region(self.part, torch.from_numpy(np.asarray(half["face_mask"]))).numpy()
        return half | {"latents": np.asarray(half["latents"], np.float32) * mask}


def audible(timestep: torch.Tensor, config: ClassifierConfig) -> torch.Tensor:
    """Timesteps of mismatched pairs: above this noise level no lips are visible that the sound
    could contradict, so that the label would only add noise to the gradient."""
    return timestep * config.mismatched_below // 1000


def sample_loss(logit: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Equation 7: its mean over real samples and its mean over negatives, as one mean over samples,
    of which half are real in every step."""
    return F.binary_cross_entropy_with_logits(logit.float(), labels)


def paired(real: Batch, generated: Batch, mismatched: torch.Tensor) -> Batch:
    """Real samples (label 1), then their negatives (label 0), n each.

    Where `mismatched` [n] the negative is the real sample with mismatched sound, else it is the
    generated sample. Artefacts of the generator give generated samples away, and the speaker's
    identity gives another clip's voice away; only the sound of another moment forces the classifier
    to use the audio.
    """
    values = {}
    for name, value in real.__dict__.items():
        if name != "keys":
            own = real.mismatched_audio if name == "audio" else value
            where = mismatched.view(-1, *[1] * (value.ndim - 1))
            values[name] = torch.cat([value, torch.where(where, own, getattr(generated, name))])
    return Batch(**values, keys=real.keys + generated.keys)


def region(part: Part, face_mask: torch.Tensor) -> torch.Tensor:
    """The region that the classifier sees when masked: M_face or its complement."""
    return face_mask if part == "face" else 1 - face_mask


def masked(pairs: Batch, part: Part, probability: float, generator: torch.Generator) -> Batch:
    """With `probability` a pair shows only the classifier's own region, in all its frames, on
    clean latents."""
    mask = region(part, pairs.face_mask)
    hidden = (torch.rand(len(mask) // 2, generator=generator) < probability).repeat(2)
    mask = torch.where(hidden[:, None, None], mask, torch.ones_like(mask))
    return replace(pairs, latents=pairs.latents * mask[:, None, None])


def logits(
    model: Any,
    scheduler: DDPMScheduler,
    pairs: Batch,
    timestep: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Logits [2n] of n pairs at `timestep` [n]. Both of a pair get the same noise, so that they
    differ only in what is to be classified."""
    noise = torch.randn(pairs.latents[: len(timestep)].shape, generator=generator)
    noise = noise.repeat(2, 1, 1, 1, 1)
    timestep = timestep.repeat(2)
    noised = scheduler.add_noise(pairs.latents, noise, timestep)
    device = next(model.parameters()).device
    conditions = pairs.reference_latents, pairs.reference_embedding, pairs.audio
    return model(*(x.to(device) for x in (noised, timestep, *conditions)))


def cross_entropy(logit: torch.Tensor) -> torch.Tensor:
    """Equation 7 for pairs."""
    real, negative = logit.float().chunk(2)
    return (F.softplus(-real).mean() + F.softplus(negative).mean()) / 2


def accuracy(logit: torch.Tensor) -> float:
    real, negative = logit.chunk(2)
    return float(torch.cat([real > 0, negative <= 0]).float().mean())
