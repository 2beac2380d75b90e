"""TC: seconds to generate one segment by itself, and where they go (paper 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paha_core.config import Preset
from paha_core.engine.progress import Progress
from paha_core.inference.held_out import HeldOut, conditions_of, recipe
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.video_file import machine
from paha_core.metrics.time_cost import PARTS, Times
from paha_core.store import Store, sha256_json


def segment_times(
    store: Store,
    rel: str,
    preset: Preset,
    ways: Mapping[str, Settings],
    clip: HeldOut,
    pipeline: Callable[[], PahaPipeline],
) -> Times:
    """`time_segments`, kept as `rel` with the machine that was timed, until one of the ways or its
    networks change. `pipeline` opens the networks."""
    made_by = {name: recipe(store, preset, how) for name, how in ways.items()}
    key = sha256_json([made_by, preset.benchmark.time_repeats])
    if store.exists(rel) and (kept := store.read_json(rel))["key"] == key:
        return dict(kept["times"])
    times = time_segments(pipeline(), ways, clip, preset.benchmark.time_repeats)
    timed = machine(pipeline().device)
    store.write_json(rel, {"key": key, "clip": clip.clip_id, "machine": timed, "times": times})
    return times


def time_segments(
    pipeline: PahaPipeline, ways: Mapping[str, Settings], clip: HeldOut, repeats: int
) -> Times:
    """Times of the first segment of `clip`, a batch of one, from noise to pictures.

    Repeats go through all ways in turn: what else the machine does falls on all alike, and the
    times of one repeat can be compared. A first round only warms up.
    """
    preset = pipeline.preset
    given = conditions_of([clip], preset.generation.segment_frames, preset.audio.margin)
    box = clip.face_box[None]
    times: Times = {name: [] for name in ways}
    with Progress((repeats + 1) * len(ways), "time cost", unit="segment") as progress:
        for repeat in range(repeats + 1):
            for name, how in ways.items():
                made = pipeline.generate(given, box, **vars(how))
                if repeat:
                    told = {f"tc_{part}": getattr(made.trace, part) for part in PARTS}
                    times[name].append({"tc": made.seconds} | told)
                progress.update()
    return times
