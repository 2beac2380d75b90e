"""The videos behind the tables: generated once for each setting, seed and set of networks.

Tables share them: the unguided row of table 2 is generated once for SG and DG, table 1's PAHA-SG is
table 2's SG 50 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from paha_core.benchmark.measuring.videos import SystemVideo, generated_video
from paha_core.benchmark.tables.specs import SuiteRow
from paha_core.config import Preset
from paha_core.engine.progress import Progress
from paha_core.inference.held_out import VideoSet, generation_fingerprint, make_videos
from paha_core.inference.held_out_clips import select_clips
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.timing import Timings, segment_times
from paha_core.store import Store


class RowSamples:
    """Videos and times of rows, by one set of networks.

    `store` holds clips and results, `networks` (the same one, or an overlay) the checkpoints.
    """

    def __init__(self, store: Store, networks: Store, preset: Preset, device: str = "cpu") -> None:
        self.store, self.networks, self.preset, self.device = store, networks, preset, device
        self.clips = select_clips(store, preset, "suites/inputs")
        self._sets: dict[str, VideoSet] = {}

    @cached_property
    def pipeline(self) -> PahaPipeline:
        return PahaPipeline.from_store(self.networks, self.preset, self.device)

    def close(self) -> None:
        """Free the networks."""
        self.__dict__.pop("pipeline", None)

    def video_set(self, row: SuiteRow, seed: int) -> VideoSet:
        """The row's videos of one seed, some of which may be missing; rows with the same settings
        share one set."""
        settings = self._settings(row, seed)
        key = generation_fingerprint(self.networks, self.preset, settings)[:20]
        if key not in self._sets:
            self._sets[key] = VideoSet(
                self.store,
                self.networks,
                self.preset,
                self.clips,
                settings,
                f"manifests/suite_samples/{key}.parquet",
                f"suites/samples/{key}",
                ".mp4",
            )
        return self._sets[key]

    @property
    def missing(self) -> int:
        """How many of the requested videos have not been generated."""
        return sum(len(videos.todo) for videos in self._sets.values())

    def generate(self, progress: Progress) -> None:
        """Make what is missing."""
        sets = list(self._sets.values())
        make_videos(sets, lambda: self.pipeline, self.device, progress.update)

    def videos(self, row: SuiteRow, seed: int) -> list[SystemVideo]:
        """The generated videos of `video_set`, under the row's name."""
        rows = self.video_set(row, seed).table().to_pylist()
        return [generated_video(row.name, one, seed) for one in rows]

    def times(self, rows: Sequence[SuiteRow], rel: str) -> Timings:
        """The times of each row, stored at `rel`; rows with the same settings are timed once."""
        seed = self.preset.generation.seed
        settings = {row.name: self._settings(row, seed) for row in rows}
        fingerprints = {
            name: generation_fingerprint(self.networks, self.preset, one)
            for name, one in settings.items()
        }
        first = {one: name for name, one in reversed(fingerprints.items())}
        once = {name: settings[name] for name in first.values()}
        found = segment_times(
            self.store, rel, self.preset, once, self.clips[0], lambda: self.pipeline
        )
        return {name: found[first[one]] for name, one in fingerprints.items()}

    def _settings(self, row: SuiteRow, seed: int) -> Settings:
        return Settings(mode=row.mode, seed=seed, guidance=row.guidance(self.preset))
