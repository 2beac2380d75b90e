"""Videos of held-out clips in every mode: the stage behind the benchmark and the report."""

from __future__ import annotations

from functools import cache

from paha_core.config import Mode, Preset
from paha_core.engine.manifest_stage import StageResult, manifest_path
from paha_core.engine.progress import Progress
from paha_core.inference.held_out import HeldOut, VideoSet, choose, publish_inputs
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.timing import segment_times
from paha_core.metrics.time_cost import HELD_OUT
from paha_core.store import Store

STAGE = "generated_clips"


def generate_held_out(store: Store, preset: Preset, device: str = "cpu") -> dict[str, StageResult]:
    """Bring `generated/<clip>.<mode>.mp4` up to date for each mode; unchanged clips are not made
    again, and a killed run goes on after its last batch."""
    clips = choose(store, preset)
    pipeline = cache(lambda: PahaPipeline.from_store(store, preset, device))
    sets = [_of_mode(store, preset, clips, mode) for mode in preset.generation.modes]
    counts = [len(videos.todo) for videos in sets]
    if any(counts):
        publish_inputs(store, clips)
        with Progress(sum(counts), STAGE) as progress:
            for made in (made for videos in sets for made in videos.make(pipeline())):
                progress.update(made)
    ways: dict[str, Settings] = {videos.how.mode: videos.how for videos in sets}
    segment_times(store, HELD_OUT, preset, ways, clips[0], pipeline)
    return {
        videos.how.mode: StageResult(videos.table(), count, len(clips) - count)
        for videos, count in zip(sets, counts, strict=True)
    }


def _of_mode(store: Store, preset: Preset, clips: list[HeldOut], mode: Mode) -> VideoSet:
    return VideoSet(
        *(store, store, preset, clips),
        Settings(mode=mode, seed=preset.generation.seed),
        manifest_path(STAGE, mode),
        lambda clip: f"{clip.stem}.{mode}.mp4",
    )
