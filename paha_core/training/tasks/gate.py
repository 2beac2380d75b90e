"""The audio-swap gate: tests on held-out clips whether a trained classifier's score depends on the
sound.

Guidance is useless with a classifier that has only learned artefacts of the generator, or which
voice belongs to which face. So the voice is swapped for that of another clip, of the same speaker
where there is one, and for another moment of the same clip; both must lower the score. The
examination uses the classifier as guidance does: segments as long as guidance's, unmasked, at the
noise levels where the preset's guidance acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from paha_core.config import Preset
from paha_core.models.audio_encoder import audio_windows
from paha_core.models.noise import sampling_scheduler, training_scheduler
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import Batch, Window, WindowBatches, batch_of
from paha_core.store import Store
from paha_core.trained import Part
from paha_core.training.run import step_generator
from paha_core.training.tasks.pairs import accuracy, logits, masked, paired, region

BANDS = ((0, 250), (250, 500), (500, 750), (750, 1000))
LEVELS = tuple(low + step for low, _ in BANDS for step in (50, 150))  # timesteps
FEWER_LEVELS = LEVELS[::2]  # where the classifier sees its own region alone
SHIFTS = range(-15, 16)  # frames, as SyncNet's protocol
BATCH = 8  # windows
SHIFTED_WINDOWS = 24  # at most, for the shift curve

Share = dict[str, float]  # share of windows, low and high end of its 95 % interval


def examine(
    model: SyncClassifier,
    part: Part,
    store: Store,
    preset: Preset,
    held_out: Sequence[tuple[Batch, Batch]],
) -> dict[str, Any]:
    """The contents of a classifier's `gate.json`.

    `share` (of windows whose score drops with another clip's voice) and `moment` (with another
    moment of the same clip or, for clips too short for that, of the same speaker) come with the
    bounds of a 95 % bootstrap interval over clips, the score summed over the noise levels at which
    the preset's guidance acts (`acts_down_to`); `passed` when both lower bounds are above one half.
    `bands` has both by timestep band, and accuracy and area under the ROC curve of real against
    generated; `masked` is what is left of both when the classifier sees its own region alone;
    `shift` is the mean logit by how many frames the sound is late. `held_out`: real windows and
    their negatives.
    """
    reader = ShardReader(store, preset.classifier_datasets, "test")
    examination, lowest = _Examination(model.eval(), part, reader, preset), lowest_guided(preset)
    swaps = examination.swaps(LEVELS)
    masked_swaps = examination.swaps(FEWER_LEVELS, own_region=True)
    rates = swaps.drop_rates(lowest)
    bands = [
        {"from": low, "to": high} | real_or_generated | swaps.drop_rates(low, high)
        for (low, high), real_or_generated in zip(BANDS, examination.bands(held_out), strict=True)
    ]
    swap = rates.pop("swap")
    return {
        "passed": swap["low"] > 0.5 and rates["moment"]["low"] > 0.5,
        **swap,
        **rates,
        "acts_down_to": lowest,
        "masked": masked_swaps.drop_rates(lowest),
        "bands": bands,
        "shift": examination.shift_curve(),
        "frames": examination.frames,
        "n": examination.count,
        "clips": len(reader),
    }


def lowest_guided(preset: Preset) -> int:
    """The timestep of the last step at which the preset's guidance acts; it starts at the first."""
    generation = preset.generation
    timesteps = sampling_scheduler(preset.univdm, generation.ddim_steps).timesteps
    guided = generation.guidance.guided_steps(generation.ddim_steps)
    return int(timesteps[max(guided, 1) - 1])


class _Swaps:
    """Changes of scores when the voice is swapped, [2, windows, levels]: for another clip's, for
    another moment's (where `has_moment` [windows]). `clips` [windows] are the windows' clips."""

    def __init__(
        self,
        changes: np.ndarray,
        levels: Sequence[int],
        clips: np.ndarray,
        has_moment: np.ndarray,
    ) -> None:
        self.changes, self.levels, self.clips = changes, levels, clips
        self.has_moment = has_moment

    def drop_rates(self, low: int, high: int = 1000) -> dict[str, Share]:
        """Shares of windows whose score drops, summed over the levels from `low` up to `high`; at
        the noisiest level where there is none in between."""
        chosen = [i for i, level in enumerate(self.levels) if low <= level < high] or [-1]
        drops = self.changes[..., chosen].sum(axis=2) < 0
        moment = _share(drops[1][self.has_moment], self.clips[self.has_moment])
        return {"swap": _share(drops[0], self.clips), "moment": moment}


class _Examination:
    def __init__(
        self, model: SyncClassifier, part: Part, reader: ShardReader, preset: Preset
    ) -> None:
        self.model, self.part, self.reader = model, part, reader
        self.device, self.count = next(model.parameters()).device, preset.classifiers.gate_windows
        self.frames, self.margin = preset.generation.segment_frames, preset.audio.margin
        self.windows = WindowBatches(reader, BATCH, self.frames, self.margin, 7)
        self.scheduler = training_scheduler(preset.univdm)

    @torch.no_grad()
    def swaps(self, levels: Sequence[int], own_region: bool = False) -> _Swaps:
        """Scores with another clip's voice, and with another moment's, minus those with the right
        one; all three with the same noise."""
        changes, clips, has_moment = [], list[int](), list[bool]()
        for step in range(self.count // BATCH):
            batch, windows = self.windows.batch_at(step), self.windows.windows_at(step)
            clips += [window.clip for window in windows]
            has_moment += batch.has_mismatch.tolist()
            others = torch.from_numpy(np.stack([self._other_voice(w) for w in windows])).float()
            voices = torch.cat([batch.audio, others, batch.mismatched_audio])
            generator = step_generator(3, step)
            scores = [self._scores(batch, level, voices, generator, own_region) for level in levels]
            own, *exchanged = np.stack(scores, axis=1).reshape(3, -1, len(levels))
            changes.append(np.stack(exchanged) - own)
        return _Swaps(
            np.concatenate(changes, axis=1), levels, np.array(clips), np.array(has_moment)
        )

    def _scores(
        self,
        batch: Batch,
        level: int,
        voices: torch.Tensor,
        generator: torch.Generator,
        own_region: bool = False,
    ) -> np.ndarray:
        """Logits [k n] of the batch's n windows, noised once, with k voices each."""
        latents = batch.latents
        if own_region:
            latents = latents * region(self.part, batch.face_mask)[:, None, None]
        timestep = torch.full((len(latents),), level)
        noisy = self.scheduler.add_noise(
            latents, torch.randn(latents.shape, generator=generator), timestep
        )
        shared = (noisy, timestep, batch.reference_latents, batch.reference_embedding)
        times = len(voices) // len(latents)
        inputs = [x.repeat(times, *[1] * (x.ndim - 1)).split(BATCH) for x in shared]
        parts = zip(*inputs, voices.split(BATCH), strict=True)
        scores = [self.model(*(x.to(self.device) for x in part)) for part in parts]
        return torch.cat(scores).cpu().numpy()

    def _other_voice(self, window: Window) -> np.ndarray:
        """The same frames of the speaker's next clip; of any speaker's, if there is none."""
        rows, count = self.reader.rows, len(self.reader)
        later = [(window.clip + i) % count for i in range(1, count)] or [window.clip]
        speaker = rows[window.clip]["speaker"]
        other = next((i for i in later if rows[i]["speaker"] == speaker), later[0])
        audio = self.reader.read(other).audio
        start = min(window.start, max(0, len(audio) - self.frames))
        frames = np.minimum(np.arange(start, start + self.frames), len(audio) - 1)
        return audio_windows(audio, self.margin)[frames]

    @torch.no_grad()
    def bands(self, held_out: Sequence[tuple[Batch, Batch]]) -> list[dict[str, float]]:
        """Accuracy and area under the ROC curve, real against generated, by timestep band."""
        bands = []
        for low, high in BANDS:
            scores = []
            for i, (real, generated) in enumerate(held_out):
                generator = step_generator(4, 1000 * i + low)
                pairs = paired(real, generated, torch.zeros(len(real.keys)) > 0)
                pairs = masked(pairs, self.part, 1.0, generator)
                timestep = torch.randint(low, high, (len(real.keys),), generator=generator)
                scores.append(logits(self.model, self.scheduler, pairs, timestep, generator).cpu())
            positive = torch.cat([s.chunk(2)[0] for s in scores])
            negative = torch.cat([s.chunk(2)[1] for s in scores])
            difference = positive[:, None] - negative[None]
            auc = float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())
            bands.append({"accuracy": accuracy(torch.cat([positive, negative])), "auc": auc})
        return bands

    @torch.no_grad()
    def shift_curve(self) -> dict[str, Any] | None:
        """Mean logit by how many frames the sound is later than its picture; None where no clip is
        long enough for every shift."""
        shortest = self.frames + 2 * SHIFTS[-1]
        long = [i for i, frames in enumerate(self.reader.frames) if frames >= shortest]
        if not long:
            return None
        windows = [
            Window(clip, start, self.frames, reference=0)
            for clip in long
            for start in self._starts(clip)
        ]
        limit = min(SHIFTED_WINDOWS, self.count)
        rows = [self._shifted(window) for window in windows[:: -(-len(windows) // limit)]]
        curve = np.mean(rows, axis=0)
        return {
            "shifts": list(SHIFTS),
            "logits": [float(x) for x in curve],
            "peak": int(SHIFTS[int(curve.argmax())]),
            "windows": len(rows),
        }

    def _starts(self, clip: int) -> list[int]:
        """Four windows of a clip, with room for every shift on both sides."""
        last = self.reader.frames[clip] - self.frames - SHIFTS[-1]
        return [int(start) for start in np.linspace(SHIFTS[-1], last, 4)]

    def _shifted(self, window: Window) -> np.ndarray:
        """The logits of one window, [shifts]."""
        voice = self.reader.read(window.clip).audio
        starts = [window.start + shift for shift in SHIFTS]
        audio = [audio_windows(voice, self.margin, s, s + self.frames) for s in starts]
        voices = torch.from_numpy(np.stack(audio)).float()
        generator = step_generator(5, 1000 * window.clip + window.start)
        batch = batch_of(self.reader, [window], self.margin)
        return self._scores(batch, LEVELS[0], voices, generator, own_region=True)


def _share(drops: np.ndarray, clips: np.ndarray) -> Share:
    """The share of true `drops` [windows], and its 95 % interval from a bootstrap over clips, each
    drawn with all its windows; zero where there is no window."""
    if not len(drops):
        return {"share": 0.0, "low": 0.0, "high": 0.0}
    by_clip = [drops[clips == clip] for clip in sorted(set(clips.tolist()))]
    sums = np.array([each.sum() for each in by_clip])
    counts = np.array([len(each) for each in by_clip])
    rows = np.random.default_rng(0).integers(len(by_clip), size=(2000, len(by_clip)))
    shares = sums[rows].sum(axis=1) / counts[rows].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"share": float(np.mean(drops)), "low": float(low), "high": float(high)}
