"""TC: seconds to generate one segment, in total and by part (paper 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paha_core.config import Preset
from paha_core.engine.progress import Progress
from paha_core.inference.held_out import generation_fingerprint, held_out_settings
from paha_core.inference.held_out_clips import HeldOutClip, conditions_of, select_clips
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.precision import repeatable
from paha_core.inference.video_file import machine
from paha_core.store import Store, sha256_json

PARTS = ("solver", "classifiers", "codec")
HELD_OUT = "generated/times.json"  # of the stage `generated_clips`

Timings = dict[str, list[dict[str, float]]]
"""By mode or row, one entry a repeat: `tc` and `tc_<part>` for each of `PARTS`, in seconds. The
parts need not add up to `tc`."""


def read_times(store: Store, path: str) -> Timings:
    """The times written there; empty before anything was timed."""
    return dict(store.read_json(path)["times"]) if store.exists(path) else {}


def time_held_out(store: Store, preset: Preset, pipeline: Callable[[], PahaPipeline]) -> Timings:
    """TC of the preset's modes on its first held-out clip. `pipeline` opens the networks."""
    clip = select_clips(store, preset)[0]
    settings: dict[str, Settings] = {
        mode: held_out_settings(preset, mode) for mode in preset.generation.modes
    }
    return segment_times(store, HELD_OUT, preset, settings, clip, pipeline)


def segment_times(
    store: Store,
    path: str,
    preset: Preset,
    settings: Mapping[str, Settings],
    clip: HeldOutClip,
    pipeline: Callable[[], PahaPipeline],
) -> Timings:
    """`time_segments` of each of the named `settings`, cached as `path` together with the machine
    that was timed, until one of the settings or its networks change. `pipeline` opens the networks.
    """
    fingerprints = {
        name: generation_fingerprint(store, preset, one) for name, one in settings.items()
    }
    key = sha256_json([fingerprints, preset.benchmark.time_repeats])
    if store.exists(path) and (cached := store.read_json(path))["key"] == key:
        return dict(cached["times"])
    times = time_segments(pipeline(), settings, clip, preset.benchmark.time_repeats)
    timed = machine(pipeline().device)
    store.write_json(path, {"key": key, "clip": clip.clip_id, "machine": timed, "times": times})
    return times


def time_segments(
    pipeline: PahaPipeline, settings: Mapping[str, Settings], clip: HeldOutClip, repeats: int
) -> Timings:
    """Time the first segment of `clip`, a batch of one, from noise to pictures.

    Each repeat goes through all settings in turn: other load on the machine then slows all alike,
    and the times of one repeat can be compared. A first round warms up.
    """
    preset = pipeline.preset
    conditions = conditions_of(pipeline, [clip], preset.generation.segment_frames)
    box = clip.face_box[None]
    times: Timings = {name: [] for name in settings}
    with Progress((repeats + 1) * len(settings), "time cost", unit="segment") as progress:
        for repeat in range(repeats + 1):
            for name, one in settings.items():
                with repeatable(pipeline.device, pipeline.precision(one)):  # as videos are made
                    made = pipeline.generate(conditions, box, one)
                if repeat:
                    parts = {f"tc_{part}": getattr(made.trace, part) for part in PARTS}
                    times[name].append({"tc": made.seconds} | parts)
                progress.update()
    return times
