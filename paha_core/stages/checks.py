"""Checks of a store after its stages, which decide whether to continue.

Each check reads what the stages wrote and returns an `CheckOutcome`; none changes anything.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from paha_core.config import Preset
from paha_core.engine.manifest_files import Row
from paha_core.engine.manifest_stage import kept_rows, read_manifest
from paha_core.media import FPS
from paha_core.store import Store
from paha_core.trained import MAX_SKIPPED_SHARE, gate_figures, gate_verdict, read_log

# Minimum shares for the corpus as a whole; single bad clips are rejected by the stages.
MIN_KEPT_SHARE = 0.5
SOUND_ONLY_AUC = (0.45, 0.55)  # allowed AUC of the audio-only probe; 0.5 is chance
MIN_PART_SHARE = {"face_share": 0.7, "body_share": 0.7}
DURATION_TOLERANCE = 1 / FPS + 1024 / 16_000  # a frame, and the padding of AAC's last packet


@dataclass(frozen=True)
class CheckOutcome:
    """Whether a check passed, one sentence about it, and the figures behind it."""

    passed: bool
    message: str
    figures: dict[str, float | str] = field(default_factory=dict)


def keypoint_coverage(store: Store, preset: Preset) -> CheckOutcome:
    """Most clips have keypoints, and most of their frames a face and a body."""
    problems, figures = [], {}
    for dataset in preset.corpora.datasets:
        rows = read_manifest(store, "keypoints", dataset)
        if not rows:
            continue
        kept = [row for row in rows if row["status"] == "kept"]
        shares = {"kept": len(kept) / len(rows)}
        shares |= {part: _mean([row[part] for row in kept]) for part in MIN_PART_SHARE}
        for name, share in shares.items():
            figures[f"{dataset} {name}"] = round(share, 4)
            if share < (MIN_PART_SHARE | {"kept": MIN_KEPT_SHARE})[name]:
                problems.append(f"{dataset}: {name} is only {share:.0%}")
    if not figures:
        return CheckOutcome(False, "there are no keypoints at all")
    return CheckOutcome(
        not problems, "; ".join(problems) or "faces and bodies are found", dict(figures)
    )


def split_leakage(store: Store, preset: Preset) -> CheckOutcome:
    """No source is in train and in test, and no test clip of one corpus repeats a training clip of
    another. PATS's published split has such sources: they are counted.
    """
    from paha_core.corpora.duplicates import in_train_of_any

    everywhere: list[Row] = []
    problems: list[str] = []
    figures: dict[str, float | str] = {}
    for dataset in preset.corpora.datasets:
        sides: dict[str, set[str]] = defaultdict(set)
        repeated = 0
        for row in kept_rows(store, "clips", [dataset]):
            sides[row["split"]].add(f"{row['speaker']}/{row['source_id']}")
            repeated += bool(row.get("in_train"))
            everywhere.append(row)
        shared = sides["train"] & sides["test"]
        figures[f"{dataset} sources in train and in test"] = len(shared)
        figures[f"{dataset} test clips that share one or repeat a training clip"] = repeated
        figures[f"{dataset} test sources"] = len(sides["test"])
        if preset.corpora.entry(dataset).splits_share_sources:
            continue
        if shared:
            problems.append(f"{dataset}: {', '.join(sorted(shared)[:3])} in train and in test")
    elsewhere = {
        clip: other
        for clip, other in in_train_of_any(everywhere).items()
        if clip.partition("/")[0] != other.partition("/")[0]
    }
    figures["test clips that repeat a training clip of another corpus"] = len(elsewhere)
    problems += [f"{clip} repeats {other} in train" for clip, other in [*elsewhere.items()][:3]]
    return CheckOutcome(not problems, "; ".join(problems) or "train and test are apart", figures)


def shard_integrity(store: Store, preset: Preset) -> CheckOutcome:
    """Every shard matches its manifest byte for byte, and train and test both have clips."""
    from paha_core.shards.verify import verify_shards

    splits = {"train": 0, "test": 0}
    for row in kept_rows(store, "training_shards", preset.corpora.datasets):
        splits[row["split"]] += 1
    found = verify_shards(store, preset.corpora.datasets)
    problems = [f"{shard}: {why}" for shard, why in found.problems.items()]
    problems += [f"no {side} clips" for side, count in splits.items() if not count]
    figures: dict[str, float | str] = {"shards": found.shards, "bytes": found.bytes}
    figures |= {f"{side} clips": count for side, count in splits.items()}
    return CheckOutcome(not problems, "; ".join(problems[:3]) or "every shard is whole", figures)


def finite_loss(store: Store, network: str) -> CheckOutcome:
    """Every held-out loss in the network's log is a number, and few steps had to be skipped."""
    log = read_log(store, network)
    losses, held_out = (
        [(line["step"], line[name]) for line in log if name in line]
        for name in ("loss", "validation_loss")
    )
    skipped = max((line.get("skipped_steps", 0) for line in log), default=0)
    figures: dict[str, float | str] = {"lines": len(log), "skipped steps": skipped}
    for name, values in (("loss", losses), ("held-out loss", held_out)):
        if numbers := [value for _, value in values if _is_number(value)]:
            figures |= {f"first {name}": numbers[0], f"last {name}": numbers[-1]}
    if not held_out:
        return CheckOutcome(False, f"{network} has no held-out loss in its log", figures)
    if bad := [step for step, value in held_out if not _is_number(value)]:
        return CheckOutcome(False, f"the held-out loss is not finite at step {bad[0]}", figures)
    if skipped > MAX_SKIPPED_SHARE * log[-1]["step"]:
        return CheckOutcome(False, f"{skipped} of {log[-1]['step']} steps were not finite", figures)
    return CheckOutcome(
        True, f"all held-out losses are finite, {skipped} steps were skipped", figures
    )


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def audio_swap(store: Store, preset: Preset, classifier: str) -> CheckOutcome:
    """Other audio lowers the classifier's score; otherwise its guidance would be noise."""
    gate = gate_verdict(store, preset, classifier)
    if gate is None:
        return CheckOutcome(
            False, f"{classifier} has not been examined as it is and as it is used here"
        )
    moment = gate["moment"]
    message = (
        f"of {gate['n']} windows the score falls for {gate['share']:.0%} with another clip's voice "
        f"(95 % interval from {gate['low']:.0%}), for {moment['share']:.0%} with another moment's "
        f"(from {moment['low']:.0%}), down to timestep {gate['acts_down_to']} as guidance acts"
    )
    return CheckOutcome(bool(gate["passed"]), message, gate_figures(gate))


def sound_only(store: Store, preset: Preset, classifier: str) -> CheckOutcome:
    """An audio-only network can't separate mismatched from matched sound (B1): otherwise the
    classifier may have learned an artefact of how mismatched windows are made."""
    gate = gate_verdict(store, preset, classifier)
    if gate is None or "sound_only" not in gate:
        return CheckOutcome(
            False, f"{classifier} has not been examined as it is and as it is used here"
        )
    probe = gate["sound_only"]
    if probe is None:
        return CheckOutcome(True, "no held-out clip has mismatched sound")
    low, high = SOUND_ONLY_AUC
    message = (
        f"mismatched sound is recognised by sound alone with AUC {probe['auc']:.3f} (95 % interval "
        f"{probe['low']:.3f} to {probe['high']:.3f}) on {probe['windows']} held-out windows"
    )
    return CheckOutcome(probe["low"] <= high and probe["high"] >= low, message, dict(probe))


def generated_durations(store: Store, preset: Preset) -> CheckOutcome:
    """Every generated video lasts as long as the sound inside it, and has the frames it should."""
    from paha_core.media.ffmpeg import MediaError, open_media

    problems, count, largest = [], 0, 0.0
    for row in kept_rows(store, "generated_clips", preset.generation.modes):
        count += 1
        try:
            with store.reading(row["path"]) as path, open_media(path) as container:
                video = sum(1 for _ in container.decode(video=0)) / FPS
                container.seek(0)
                audio = sum(f.samples / f.sample_rate for f in container.decode(audio=0))
        except (MediaError, OSError, IndexError) as error:
            problems.append(f"{row['path']}: {error or 'has no sound'}")
            continue
        largest = max(largest, abs(video - audio))
        if abs(video - audio) > DURATION_TOLERANCE or round(video * FPS) != row["frames"]:
            problems.append(f"{row['path']}: picture {video:.2f} s, sound {audio:.2f} s")
    if not count:
        problems.append("nothing was generated")
    figures: dict[str, float | str] = {"videos": count, "largest difference, s": round(largest, 4)}
    return CheckOutcome(
        not problems, "; ".join(problems[:3]) or "all are as long as their sound", figures
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
