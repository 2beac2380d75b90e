"""`paha adapt`: minutes of one person's footage to an adapter, by the stages of the pipeline.

Outside of `STAGES`: it starts from a finished network, and its artifacts are a store of their own
below the adapter's folder, `work/`, from which a second run goes on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paha_core.errors import UserError
from paha_core.stages.data import find_face_boxes, find_keypoints, ingest_clips, make_par_masks
from paha_core.stages.stage_report import (
    OnMetrics,
    StageReport,
    report_of,
    trained,
    with_metrics_callback,
)
from paha_core.stages.workspace import workers_of

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.inference.components import PipelineComponents
    from paha_core.store import Store

DATASET = "footage"
WORK = "work"
ROUGH_DB = 20  # of the codec's reconstruction: below it faces are not detected
log = logging.getLogger("paha")
NOT_PRESERVED = "not preserved: use the adapter for its own person alone"
DATA_STAGES = (ingest_clips, find_keypoints, find_face_boxes, make_par_masks)


def adapt(
    pipeline: PipelineComponents,
    videos: Sequence[Path],
    out: Path,
    licence: str,
    *,
    prior_store: Store | None = None,
    on_report: Callable[[StageReport], None] = lambda report: None,
    on_metrics: OnMetrics | None = None,
) -> StageReport:
    """Train an adapter of `pipeline`'s UniVDM on `videos`, files or folders of one person, and
    write `out/adapter.safetensors`. The speaker is called as the folder `out`.

    `licence` says whose the footage is and what it may be used for. `prior_store`: a run whose
    training shards show other people, whom the adapter is not to change; without usable shards the
    base samples some (`training.tasks.prior`). `on_report` is called after each stage. A second
    call does again only what changed. Raises `UserError` where too little of the footage is usable,
    `FileNotFoundError` for a video that is not there.
    """
    from paha_core.corpora.names import slug
    from paha_core.inference.adapters import FILE, read_adapter
    from paha_core.inference.inputs import InputError
    from paha_core.local_files import published
    from paha_core.models.int8 import is_int8
    from paha_core.shards.stage import training_shards_stage
    from paha_core.store import Store
    from paha_core.training.tasks.adapt import Footage, adapter_run, train_adapter
    from paha_core.training.tasks.prior import prior_of
    from paha_core.weights.check import require

    if is_int8(pipeline.univdm):
        raise InputError("int8 weights can't be trained: open with generation.weights fp32")
    speaker = slug(out.name)
    store = Store(str(out / WORK))
    link_videos(videos, out / WORK / DATASET)
    preset = footage_preset(pipeline.preset, out / WORK / DATASET, speaker, licence)
    require(preset, ("clips", "keypoints", "face_boxes", "par_masks"))

    # 1. clips, keypoints, face boxes, PAR masks
    for stage in DATA_STAGES:
        on_report(stage(store, preset, DATASET))

    # 2. shards, by the networks of the pipeline
    shards = training_shards_stage(
        store,
        preset.shards,
        preset.codec.size,
        pipeline.codec,
        {DATASET: pipeline.audio},
        pipeline.reference,
        workers=workers_of(preset),
    )
    on_report(report_of(store, "training_shards", shards, {}))

    # 3. what the codec makes of the person, which no adapter changes
    psnr = footage_psnr(store, pipeline)
    if psnr < ROUGH_DB:
        log.warning(
            "the codec reconstructs this footage at %.1f dB, so videos will be a rough likeness "
            "whatever the adapter learns: adapt a network whose codec was trained on more people",
            psnr,
        )

    # 4. other people
    footage = Footage.of(store, DATASET, preset.adapt.held_out_share)
    prior = prior_of(store, pipeline, footage.train, prior_store)

    # 5. the adapter
    run = with_metrics_callback(adapter_run(store, pipeline, footage, prior), on_metrics)
    terms = f"{licence}; base: {base_terms(pipeline.preset)}"
    report = trained(run, lambda: train_adapter(pipeline, footage, run, speaker, terms, prior))
    with store.reading(f"{run.final}/{FILE}") as made, published(out / FILE) as path:
        read_adapter(made)  # whole, before an older one is replaced
        path.write_bytes(made.read_bytes())
    report.artifacts["adapter"] = str(out / FILE)
    report.figures["codec, dB"] = round(psnr, 1)
    report.figures["other people"] = prior.source if prior else NOT_PRESERVED
    report.figures["megabytes"] = (out / FILE).stat().st_size / 1e6
    return report


def footage_psnr(store: Store, pipeline: PipelineComponents) -> float:
    """PSNR in dB of the codec's reconstruction of the first clip, a frame a second."""
    from paha_core.engine.manifest_stage import kept_rows
    from paha_core.inference.portraits import reconstruction_psnr
    from paha_core.media import FPS
    from paha_core.media.video import read_frames

    clips = kept_rows(store, "clips", [DATASET])
    if not clips:
        return math.inf  # and the training says so
    with store.reading(clips[0]["path"]) as path:
        frames = read_frames(path, size=pipeline.preset.codec.size)[::FPS]
    with pipeline.on_device(pipeline.codec):
        return float(reconstruction_psnr(pipeline.codec, frames).mean())


def adapted_preset(preset: Preset, steps: int | None, rank: int | None) -> Preset:
    """The preset with that many steps and that rank of the adapter; None keeps its own."""
    from paha_core.config import derived

    changes: dict[str, Any] = {"train": {"steps": steps}} if steps else {}
    changes |= {"rank": rank, "alpha": rank} if rank else {}
    return derived(preset, {"adapt": changes})


def footage_preset(preset: Preset, folder: Path, speaker: str, licence: str) -> Preset:
    """The pipeline's preset with the footage as its only corpus, under the filters of `adapt`."""
    from paha_core.config import CorporaConfig

    entry = preset.adapt.footage.settings()
    entry |= {"programmes": str(folder), "speaker": speaker, "licence": licence, "test_share": 0.0}
    corpora = CorporaConfig(**{"clip": preset.corpora.clip.settings(), DATASET: entry})
    return preset.model_copy(update={"corpora": corpora})


def base_terms(preset: Preset) -> str:
    """What the licences of the base's weights and corpora add up to, in one sentence."""
    from paha_core.weights.licences import parts_of, summary

    return summary(parts_of(preset))


def link_videos(videos: Sequence[Path], folder: Path) -> None:
    """Make `folder` hold links to these files and folders, and nothing else.

    Raises `FileNotFoundError` for one that is not there, `UserError` for two of one name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named: dict[str, Path] = {}
    for video in videos:
        if not video.exists():
            raise FileNotFoundError(f"no video {video}")
        if video.name in named:
            raise UserError(f"two videos are called {video.name}: rename one")
        named[video.name] = video.absolute()
    for link in folder.iterdir():
        link.unlink()
    for name, video in named.items():
        (folder / name).symlink_to(video)
