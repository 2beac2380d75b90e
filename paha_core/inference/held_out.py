"""Videos of held-out clips: the stage `generated_clips`, and what the benchmark's tables share.

Clips are generated `generation.batch` at a time by any number of processes, and published with each
batch, so that a killed run loses at most one batch. A clip's noise depends on its id and the seed
alone: it is the same in every mode and row, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from paha_core.config import Mode, Preset
from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import KEPT, ManifestRow, StageResult, clip_key, stage_schema
from paha_core.engine.progress import Progress
from paha_core.engine.shared_work import GpuWorkers, claimed_in_turn
from paha_core.inference.held_out_clips import (
    HeldOutClip,
    conditions_of,
    noise_seed,
    publish_inputs,
    select_clips,
)
from paha_core.inference.pipeline import PahaPipeline, Settings, describe
from paha_core.inference.precision import repeatable
from paha_core.media import FPS
from paha_core.media.encode import write_video
from paha_core.media.frames import resize
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME
from paha_core.store import Store, sha256_file, sha256_json
from paha_core.trained import CLASSIFIERS, fingerprint

CODE_VERSION = "7"
STAGE = "generated_clips"
GENERATED_SCHEMA = stage_schema(
    pa.schema(
        [
            ("mode", pa.string()),
            ("gates_failed", pa.string()),  # classifiers that guided without having passed
            ("frames", pa.int32()),
            ("audio_path", pa.string()),  # the voice, cut to the video's length
            ("real_path", pa.string()),  # the held-out clip
            ("reference", pa.string()),  # png
            ("reference_frame", pa.int32()),
            ("seconds", pa.float64()),  # of generation; a batch's time is divided evenly
            ("seed", pa.int64()),
        ]
    )
)


class GeneratedRow(ManifestRow):
    """A row of a mode's videos: the columns of every manifest, then those of `GENERATED_SCHEMA`."""

    mode: str
    gates_failed: str
    frames: int
    audio_path: str
    real_path: str
    reference: str
    reference_frame: int
    seconds: float
    seed: int


def generate_held_out(
    store: Store, preset: Preset, pipeline: Callable[[], PahaPipeline], device: str = "cpu"
) -> dict[str, StageResult]:
    """Bring `generated/<clip>.<mode>.mp4` up to date for each mode. Unchanged clips are reused, and
    a killed run loses at most one batch. `pipeline` opens the networks on `device`; on "cuda" every
    further GPU of this host has a process."""
    clips = select_clips(store, preset)
    sets = {
        mode: VideoSet(
            store,
            store,
            preset,
            clips,
            held_out_settings(preset, mode),
            manifest_path(STAGE, mode),
            "generated",
            f".{mode}.mp4",
        )
        for mode in preset.generation.modes
    }
    counts = {mode: len(videos.todo) for mode, videos in sets.items()}
    with Progress(sum(counts.values()), STAGE) as progress:
        make_videos(list(sets.values()), pipeline, device, progress.update)
    return {
        mode: StageResult(videos.table(), counts[mode], len(clips) - counts[mode])
        for mode, videos in sets.items()
    }


def held_out_settings(preset: Preset, mode: Mode) -> Settings:
    """How the stage generates its videos of that mode."""
    return Settings(mode=mode, seed=preset.generation.seed)


IGNORED_FIELDS = {
    *("modes", "clips", "batch", "max_frames", "gradient_checkpointing"),
    *("offload", "offload_layers"),
    *("guidance", "seed", "precision"),  # hashed separately below
}
"""Fields of `generation` outside the fingerprint."""


def generation_fingerprint(networks: Store, preset: Preset, settings: Settings) -> str:
    """A hash of all that a video depends on but its clip. `networks` holds the checkpoints."""
    names = (preset.generator, *([] if settings.mode == "unguided" else CLASSIFIERS))
    generation, steps = preset.generation, settings.steps or preset.num_inference_steps
    guidance = (settings.guidance or generation.guidance).effective_settings(settings.mode, steps)
    sampling = {k: v for k, v in generation.settings().items() if k not in IGNORED_FIELDS}
    weights = [fingerprint(networks, name) for name in names]
    if settings.solver:
        sampling["solver"] = settings.solver
    if settings.steps:
        sampling["ddim_steps"] = settings.steps
    if generation.fast:
        sampling["ddim_steps"] = preset.fast.steps
    precision = settings.precision or generation.precision
    made_by = [settings.mode, guidance, sampling, precision, settings.seed, weights]
    return sha256_json([CODE_VERSION, *made_by])


@dataclass
class VideoSet:
    """The videos of `clips` generated with one set of `settings`, and their manifest. The sidecar
    of each video holds its row, so that any number of processes, on any hosts, can share a set.

    Attributes:
        store: holds clips and results.
        networks: holds the checkpoints.
        manifest: path of the manifest in the store.
        folder, ending: a video is `<folder>/<clip key><ending>`.
    """

    store: Store
    networks: Store
    preset: Preset
    clips: Sequence[HeldOutClip]
    settings: Settings
    manifest: str
    folder: str
    ending: str

    def __post_init__(self) -> None:
        made_by = generation_fingerprint(self.networks, self.preset, self.settings)
        self.fingerprints = {
            clip.clip_id: sha256_json([made_by, clip.row["fingerprint"], clip.frames])
            for clip in self.clips
        }
        self.rows: dict[str, GeneratedRow] = {}
        exists = self.store.exists(self.manifest)
        before = self.store.read_table(self.manifest).to_pylist() if exists else []
        self._add(before)
        self.refresh(self.todo)
        if before != self.table().to_pylist():
            self._write()  # drop rows of other clips or fingerprints

    @property
    def todo(self) -> list[HeldOutClip]:
        return [clip for clip in self.clips if clip.clip_id not in self.rows]

    def path_of(self, clip: HeldOutClip) -> str:
        return f"{self.folder}/{clip_key(clip.clip_id)}{self.ending}"

    def refresh(self, clips: Sequence[HeldOutClip]) -> None:
        """Add those of the clips that have been generated by any process."""
        sidecars = set(self.store.glob(f"{self.folder}/*{self.ending.replace('.mp4', '.json')}"))
        wanted = {f"{self.path_of(clip).removesuffix('.mp4')}.json" for clip in clips}
        found = [self.store.read_json(path).get("row") for path in sorted(sidecars & wanted)]
        self._add([row for row in found if row])

    def make(self, pipeline: PahaPipeline) -> Iterator[int]:
        """Generate the batches that are missing, each under its claim, until all videos exist;
        yields the size of each batch once its videos are in the store.

        The longest clips come first: a batch is as long as its longest clip, and one that does not
        fit into memory fails at once.
        """
        size = self.preset.generation.batch
        ordered = sorted(self.clips, key=lambda clip: (-clip.frames, clip.clip_id))
        batches = {
            clip_key(ordered[first].clip_id): ordered[first : first + size]
            for first in range(0, len(ordered), size)
        }

        def missing(name: str) -> list[HeldOutClip]:
            return [clip for clip in batches[name] if clip.clip_id not in self.rows]

        try:
            for name in claimed_in_turn(
                self.store,
                f"videos/{self.manifest.removesuffix('.parquet')}",
                list(batches),
                lambda name: not missing(name),
                lambda units: self.refresh([clip for unit in units for clip in missing(unit)]),
            ):
                todo = missing(name)
                self._add(generate_batch(self, pipeline, todo))
                yield len(todo)
        finally:
            self._write()

    def table(self) -> pa.Table:
        """The manifest, in the order of the clips."""
        names = GENERATED_SCHEMA.names
        rows = [self.rows[clip.clip_id] for clip in self.clips if clip.clip_id in self.rows]
        return pa.Table.from_pylist(
            [{name: row.get(name) for name in names} for row in rows], schema=GENERATED_SCHEMA
        )

    def _add(self, rows: Sequence[GeneratedRow]) -> None:
        """Keep the rows of this set whose video exists."""
        videos = set(self.store.glob(f"{self.folder}/*{self.ending}")) if rows else set()
        for row in rows:
            if (
                row["fingerprint"] == self.fingerprints.get(row["clip_id"])
                and row["path"] in videos
            ):
                self.rows[row["clip_id"]] = row

    def _write(self) -> None:
        self.store.write_table(self.manifest, self.table())


def make_videos(
    sets: Sequence[VideoSet],
    pipeline: Callable[[], PahaPipeline],
    device: str,
    on_batch: Callable[[int], None] = lambda made: None,
) -> None:
    """Make what is missing of several sets that share clips, stores and preset. `pipeline` opens
    the networks on `device`; on "cuda" every further GPU of this host has a process."""
    missing = [videos for videos in sets if videos.todo]
    if not missing:
        return
    one = missing[0]
    publish_inputs(one.store, one.clips)
    folder = one.clips[0].stem.rpartition("/")[0]
    places = [
        (videos.settings, videos.manifest, videos.folder, videos.ending) for videos in missing
    ]
    with GpuWorkers(_make_videos, (one.store, one.networks, one.preset, folder, places), device):
        for videos in missing:
            for made in videos.make(pipeline()):
                on_batch(made)


def _make_videos(
    store: Store,
    networks: Store,
    preset: Preset,
    folder: str,
    places: list[tuple[Settings, str, str, str]],
    device: str,
) -> None:
    """`make_videos` in a process of its own."""
    clips = select_clips(store, preset, folder)
    pipeline = PahaPipeline.from_store(networks, preset, device)
    for settings, manifest, videos, ending in places:
        one = VideoSet(store, networks, preset, clips, settings, manifest, videos, ending)
        for _ in one.make(pipeline):
            pass


def generate_batch(
    videos: VideoSet, pipeline: PahaPipeline, clips: Sequence[HeldOutClip]
) -> list[GeneratedRow]:
    """Generate some clips of a set side by side and write their videos, each with a sidecar.
    Returns the manifest's rows."""
    settings = videos.settings
    conditions = conditions_of(pipeline, clips, max(clip.frames for clip in clips))
    boxes = np.stack([clip.face_box for clip in clips])
    seeds = [noise_seed(settings.seed, clip) for clip in clips]
    with repeatable(pipeline.device, pipeline.precision(settings)):
        made = pipeline.generate(conditions, boxes, settings, seeds=seeds)
    failed = pipeline.gates_failed(settings)
    sidecar = describe(pipeline, made.trace, made.seconds)
    sidecar |= {"mode": settings.mode, "seed": settings.seed}
    sidecar |= {"gates_failed": failed, "batch": [clip.clip_id for clip in clips]}
    if settings.guidance is not None:
        sidecar["guidance"] = settings.guidance.settings()
    rows: list[GeneratedRow] = []
    for clip, video in zip(clips, made.frames, strict=True):
        path, of = videos.path_of(clip), clip.row
        row: GeneratedRow = {
            "clip_id": of["clip_id"],
            "dataset": of["dataset"],
            "speaker": of["speaker"],
            "split": of["split"],
            "status": KEPT,
            "reason": "",
            "fingerprint": videos.fingerprints[clip.clip_id],
            "path": path,
            "sha256": _publish(videos.store, pipeline.preset, clip, video[: clip.frames], path),
            "mode": settings.mode,
            "gates_failed": ", ".join(failed),
            "frames": clip.frames,
            "audio_path": clip.voice,
            "real_path": clip.real_path,
            "reference": clip.reference,
            "reference_frame": clip.reference_frame,
            "seconds": made.seconds / len(clips),
            "seed": settings.seed,
        }
        about = sidecar | {"clip": clip.clip_id, "row": row}
        videos.store.write_json(f"{path.removesuffix('.mp4')}.json", about)
        rows.append(row)
    return rows


def _publish(store: Store, preset: Preset, clip: HeldOutClip, video: np.ndarray, path: str) -> str:
    """Write video and voice as `path`; returns its sha256.

    The video is resized to the evaluation's size first: at 64 pixels H.264 would keep colour at 32.
    """
    wave = clip.sample.wave[: clip.frames * SAMPLES_PER_FRAME].astype(np.float32) / 32768
    frames = resize(video, preset.evaluation_size)
    with store.writing(path) as target:
        write_video(target, frames, fps=FPS, wave=wave, sample_rate=SAMPLE_RATE)
        return sha256_file(target)
