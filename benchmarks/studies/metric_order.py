"""Tests the order of metrics: sync metrics with a delayed voice, quality metrics on damaged
pictures.

    python benchmarks/studies/metric_order.py [--clips 6] [--seconds 5] [--height 256]

Presenters are drawn, encoded, and seen by the detector; the metrics are those of a run, by the same
functions. Table 1: the voice comes late by so many frames, with the frozen first frame as what a
video without motion gets. Every metric that claims sync must worsen at each step. Table 2: nine
kinds of damage in three steps each; a metric that is best near the real videos' value is judged by
its distance to the undamaged one. `in order`: worse at each step, on the mean of the clips; damage
that a metric cannot measure by definition is a dash. Means of the clips.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.video_inputs import NoValue, Truth, VideoInputs
from paha_core.benchmark.measuring.video_metrics import MEASURES
from paha_core.benchmark.measuring.videos import KeypointSource, Video
from paha_core.config import load_preset
from paha_core.corpora.studio import programme as studio
from paha_core.corpora.studio.identities import IDENTITIES
from paha_core.media.audio import write_wav
from paha_core.media.encode import write_video
from paha_core.metrics.registry import METRICS, NETWORKS, Metric, shortfall
from paha_core.metrics.row import Missing
from paha_core.store import Store, sha256_file

FPS, RATE = 25, 16_000
SHIFTS = (0, 2, 4, 8)  # frames that the voice comes late
GROUPS = ("Gesture", "Lips", "Picture")
MOVING = ("Gesture", "Lips")  # groups of metrics that depend on the timing of the voice
Damage = Callable[[np.ndarray], np.ndarray]


def damages() -> dict[str, list[Damage]]:
    """By name, from mild to strong; uint8 `[T, H, W, 3]` to the same. Pixels are those of 256."""
    noise = np.random.default_rng(0)

    def clip(x: np.ndarray) -> np.ndarray:
        return np.clip(x, 0, 255).astype(np.uint8)

    def coarse(v: np.ndarray, factor: float) -> np.ndarray:
        import cv2

        size = v.shape[2], v.shape[1]
        small = round(size[0] / factor), round(size[1] / factor)
        reduced = (cv2.resize(f, small, interpolation=cv2.INTER_AREA) for f in v)
        return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_LINEAR) for f in reduced])

    def trembling(v: np.ndarray, most: int) -> np.ndarray:
        height, width = v.shape[1:3]
        padded = np.pad(v, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
        at = noise.integers(0, 2 * most + 1, (len(v), 2))
        frames = zip(padded, at, strict=True)
        return np.stack([f[y : y + height, x : x + width] for f, (y, x) in frames])

    def shuffled(v: np.ndarray, block: int) -> np.ndarray:
        order = np.arange(len(v))
        for start in range(0, len(v), block):
            order[start : start + block] = noise.permutation(order[start : start + block])
        return v[order]

    def each(damage: Callable[[np.ndarray, float], np.ndarray], *how: float) -> list[Damage]:
        return [lambda v, s=s: damage(v, s) for s in how]  # type: ignore[misc]

    return {
        "blur": each(lambda v, s: gaussian_filter(v, (0, s, s, 0)), 0.7, 1.5, 3),
        "lower resolution": each(coarse, 1.5, 2.5, 4),
        "noise": each(lambda v, s: clip(v + noise.normal(0, s, v.shape)), 4, 10, 25),
        "trembling": each(lambda v, s: trembling(v, int(s)), 1, 2, 4),
        "held frames": each(lambda v, s: v[np.arange(len(v)) // int(s) * int(s)], 2, 4, 16),
        "shuffled": each(lambda v, s: shuffled(v, int(s)), 2, 4, 8),
        "blur over time": each(lambda v, s: gaussian_filter(v, (s, 0, 0, 0)), 0.6, 1.2, 3),
        "brighter": each(lambda v, s: clip(v.astype(float) + s), 4, 10, 25),
        "flicker": each(lambda v, s: clip(v + noise.normal(0, s, (len(v), 1, 1, 1))), 2, 5, 12),
    }


@dataclass(frozen=True)
class Clip:
    """A drawn presenter: frames and voice in time, and what was drawn. There are `max(SHIFTS)`
    more frames than are compared, so that the voice can move."""

    name: str
    frames: np.ndarray
    wave: np.ndarray
    mouth: np.ndarray
    beats: np.ndarray

    @property
    def count(self) -> int:
        return len(self.frames) - max(SHIFTS)


def draw(name: str, index: int, seconds: float, height: int) -> Clip:
    """A programme of a presenter of the studio, at 25 frames a second and 16 kHz."""
    import librosa

    programme = studio.prepare(name, index, seconds=seconds, height=height, seed=0)
    x, y, side = programme.crop
    drawn = np.stack([f[y : y + side, x : x + side] for f in studio.draw_frames(programme)])
    fps = programme.form.fps
    at = (np.arange(int(len(drawn) / fps * FPS)) + 0.5) / FPS
    sound = studio.sound(programme)[:, 0].astype(np.float32) / 32768
    wave = librosa.resample(sound, orig_sr=programme.form.sample_rate, target_sr=RATE)
    truth = studio.ground_truth(programme)
    curve = np.asarray(truth["mouth_openness"], float)
    mouth = np.interp(at, (np.arange(len(curve)) + 0.5) / fps, curve)
    return Clip(
        f"{name}{index}",
        drawn[(at * fps).astype(int)],
        wave,
        mouth,
        np.asarray(truth["beats"], float),
    )


class Bench:
    """Measures a clip as a run does: its frames encoded, seen by the detector, with truth."""

    def __init__(self, store: Store, size: int) -> None:
        preset = load_preset("demo")
        clip = preset.corpora.clip.model_copy(update={"size": size})
        preset = preset.model_copy(
            update={"corpora": preset.corpora.model_copy(update={"clip": clip})}
        )
        self.store, self.source = store, KeypointSource(store, preset)
        self.extractors = Extractors(self.source)
        self.metrics = [
            m
            for m in METRICS.values()
            if m.name in MEASURES and not (m.reads in NETWORKS and self._missing(m))
        ]

    def _missing(self, metric: Metric) -> bool:
        return isinstance(self.extractors.network(metric.reads), Missing)

    def measure(
        self, clip: Clip, frames: np.ndarray, late: int = 0, groups: tuple[str, ...] = GROUPS
    ) -> dict[str, float]:
        """Metrics of frames `[count, H, W, 3]` under the clip's voice, `late` frames late."""
        first = max(SHIFTS) - late
        start, end = first / FPS, (first + clip.count) / FPS
        with self.store.writing("one.wav") as path:
            write_wav(path, clip.wave[round(start * RATE) : round(end * RATE)], RATE)
        with self.store.writing("one.png") as path:
            import cv2

            cv2.imwrite(str(path), clip.frames[max(SHIFTS)][:, :, ::-1])
        with self.store.writing("one.mp4") as path:
            write_video(path, frames, crf=10)
            sha256 = sha256_file(path)
        self.source._contents.clear()  # these files change in their places
        video = Video(
            "drawn", f"x/y/{clip.name}", "one.mp4", sha256, clip.count, "one.wav", "one.png"
        )
        inputs = VideoInputs(self.source, self.extractors, video)
        beats = clip.beats[(clip.beats >= start) & (clip.beats < end)] - start
        inputs.truth = Truth(clip.mouth[first : first + clip.count], beats)
        true_frames = clip.frames[first : first + clip.count]
        with self.store.writing("real.mp4") as path:
            write_video(path, true_frames, crf=10)
            real = replace(video, path="real.mp4", sha256=sha256_file(path))
        seen = self.source.of(real)
        if seen is not None:
            inputs.real = seen  # the mouth of these words
        found = {}
        for metric in self.metrics:
            if metric.group not in groups:
                continue
            try:
                found[metric.name] = float(MEASURES[metric.name](inputs))
            except NoValue:
                continue
        return found


def mean_of(found: list[dict[str, float]], metric: str) -> float | None:
    values = [one[metric] for one in found if metric in one]
    return float(np.mean(values)) if values else None


def in_order(metric: Metric, values: list[float | None]) -> bool | None:
    """Whether each step is worse than the one before; `values[0]` is the undamaged. None where a
    step has no value, or where the metric does not change at all."""
    if any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    spread = max(known) - min(known)
    if spread <= 1e-3 * max(abs(known[0]), 1e-9):
        return None
    bad = [shortfall(metric.direction, value, known[0]) or 0.0 for value in known]
    return all(b > a for a, b in pairwise(bad))


def shown(metric: Metric, values: list[float | None]) -> str:
    return ", ".join("–" if v is None else f"{v:.{max(metric.digits, 1)}f}" for v in values)


def sync_table(bench: Bench, clips: list[Clip]) -> list[tuple[Metric, bool | None]]:
    """Prints table 1; returns the verdict of each metric that claims sync."""
    first = max(SHIFTS)
    moved = [[bench.measure(c, c.frames[first:], late, MOVING) for c in clips] for late in SHIFTS]
    held = [np.repeat(c.frames[first : first + 1], c.count, 0) for c in clips]
    frozen = [bench.measure(c, frames, 0, MOVING) for c, frames in zip(clips, held, strict=True)]
    heads = (*(f"{late} late" for late in SHIFTS), "frozen", "claims sync", "in order")
    print(f"\n| metric | {' | '.join(heads)} |")
    print("|---" * (len(SHIFTS) + 4) + "|")
    verdicts = []
    for metric in bench.metrics:
        values = [mean_of(found, metric.name) for found in moved]
        if metric.group not in MOVING or values[0] is None:
            continue
        verdict = in_order(metric, values)
        cells = [shown(metric, [value]) for value in (*values, mean_of(frozen, metric.name))]
        claims = "yes" if metric.claims_sync else "no"
        word = {True: "yes", False: "**no**" if metric.claims_sync else "no", None: "–"}[verdict]
        print(f"| {metric.title} | {' | '.join(cells)} | {claims} | {word} |")
        if metric.claims_sync:
            verdicts.append((metric, verdict))
    return verdicts


def quality_table(bench: Bench, clips: list[Clip]) -> None:
    """Prints table 2: how many of each damage's three steps are in order, by metric."""
    first = max(SHIFTS)
    whole = [bench.measure(c, c.frames[first:]) for c in clips]
    by_damage = {
        name: [[bench.measure(c, step(c.frames[first:])) for c in clips] for step in steps]
        for name, steps in damages().items()
    }
    metrics = [m for m in bench.metrics if mean_of(whole, m.name) is not None]
    print(f"\n| metric | undamaged | {' | '.join(by_damage)} |")
    print("|---" * (len(by_damage) + 2) + "|")
    for metric in metrics:
        base = mean_of(whole, metric.name)
        cells = []
        for steps in by_damage.values():
            values = [base, *(mean_of(found, metric.name) for found in steps)]
            mark = {True: "✓ ", False: "", None: ""}[in_order(metric, values)]
            cells.append(mark + shown(metric, values[1:]))
        print(f"| {metric.title} | {shown(metric, [base])} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--sync-only", action="store_true")
    args = parser.parse_args()
    names = list(IDENTITIES)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Store(folder), args.height)
        chosen = [(names[k % len(names)], k // len(names)) for k in range(args.clips)]
        clips = [draw(*one, args.seconds, args.height) for one in chosen]
        print(f"{len(clips)} drawn clips of {clips[0].count} frames, {args.height} pixels")
        verdicts = sync_table(bench, clips)
        if not args.sync_only:
            quality_table(bench, clips)
    wrong = [metric.title for metric, verdict in verdicts if verdict is not True]
    if wrong:
        raise SystemExit(f"claim sync and do not fall in order: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
