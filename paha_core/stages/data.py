"""The stages from footage to masks: one function each, of a store and a preset.

With `speakers` a stage touches their clips alone; the rows of all others are kept as they are.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paha_core.stages.stage_report import (
    StageReport,
    means,
    not_in_preset,
    report_of,
    require_manifest,
    require_path,
)
from paha_core.stages.workspace import executor_of, workers_of

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.store import Store


def render_programmes(store: Store, preset: Preset) -> StageReport:
    """The studio corpus in `sources/`. A preset with real footage has nothing to render."""
    from paha_core.engine.progress import Progress
    from paha_core.store import sha256_json

    studio = preset.corpora.studio
    if studio is None:
        return StageReport("programmes", figures={"source": "the preset's own footage"})
    from paha_core.corpora.studio import presenters
    from paha_core.corpora.studio.store import render_to_store

    names = presenters(studio.people, studio.people_seed)
    with Progress(studio.programmes * len(names), "programmes", unit="programme") as progress:
        listed = render_to_store(
            store,
            "sources",
            programmes=studio.programmes,
            seconds=studio.seconds,
            height=studio.height,
            seed=studio.seed,
            people=studio.people,
            people_seed=studio.people_seed,
            workers=workers_of(preset),
            progress=lambda done, total: progress.update(),
        )
    computed = sum(p.rendered for p in listed)
    index = store.read_json("sources/corpus.json")
    return StageReport(
        "programmes",
        kept=len(listed),
        computed=computed,
        reused=len(listed) - computed,
        figures={"seconds": sum(p.frames / p.fps for p in listed), "speech": str(index["speech"])},
        artifacts={"programmes": store.uri("sources")},
        data_version=sha256_json(index["programmes"]),
    )


def ingest_clips(
    store: Store, preset: Preset, dataset: str, speakers: Collection[str] = ()
) -> StageReport:
    """Clips of one dataset, from the preset's paths or else from the studio corpus."""
    from paha_core.corpora.card import write_card
    from paha_core.corpora.registry import CORPORA, ingest
    from paha_core.corpora.source_files import is_remote
    from paha_core.stages import pictures

    if dataset not in preset.corpora.datasets:
        return not_in_preset("clips", dataset)
    section = preset.corpora.entry(dataset)
    # The preset defines the whole corpus: clips of other sources are removed.
    how: Any = {
        "workers": executor_of(preset), "retry_rejected": preset.retry_rejected, "prune": True,
        "speakers": speakers,
    }  # fmt: skip
    footage = CORPORA[section.kind].footage_of(section, store.uri("sources"))
    for place in footage:
        if not is_remote(place):
            require_path(Path(place), "programmes")
    result = ingest(store, preset.corpora, dataset, footage, **how)
    strip = pictures.clips(store, dataset, fresh=result.computed > 0)
    report = report_of(store, "clips", {dataset: result}, {"Middle frames": strip}, result.figures)
    report.pages[f"Data set card, {dataset}"] = write_card(store, dataset)
    return report


def find_keypoints(
    store: Store, preset: Preset, dataset: str, speakers: Collection[str] = ()
) -> StageReport:
    """133 whole-body keypoints of every frame of every kept clip."""
    from paha_core.pose.stage import keypoints_stage
    from paha_core.stages import pictures

    if dataset not in preset.corpora.datasets:
        return not_in_preset("keypoints", dataset)
    require_manifest(store, "clips", dataset)
    result = keypoints_stage(
        store, dataset, preset.pose, workers=executor_of(preset), speakers=speakers
    )
    strip = pictures.poses(store, dataset, fresh=result.computed > 0)
    shares = means(result, "body_share", "face_share", "left_hand_share", "right_hand_share")
    return report_of(store, "keypoints", {dataset: result}, {"Keypoints": strip}, shares)


def find_face_boxes(
    store: Store, preset: Preset, dataset: str, speakers: Collection[str] = ()
) -> StageReport:
    """The face box of every frame of every kept clip."""
    from paha_core.pose.stage import face_boxes_stage
    from paha_core.stages import pictures

    if dataset not in preset.corpora.datasets:
        return not_in_preset("face_boxes", dataset)
    source = "keypoints" if preset.pose.faces_from_keypoints else "clips"
    require_manifest(store, source, dataset)
    result = face_boxes_stage(
        store, dataset, preset.pose, workers=executor_of(preset), speakers=speakers
    )
    strip = pictures.faces(store, dataset, fresh=result.computed > 0)
    share = means(result, "face_share")
    return report_of(store, "face_boxes", {dataset: result}, {"Face boxes": strip}, share)


def make_par_masks(
    store: Store, preset: Preset, dataset: str, speakers: Collection[str] = ()
) -> StageReport:
    """The loss weight of every latent cell (equations 2 and 3)."""
    from paha_core.par.stage import par_masks_stage
    from paha_core.stages import pictures

    if dataset not in preset.corpora.datasets:
        return not_in_preset("par_masks", dataset)
    require_manifest(store, "keypoints", dataset)
    grid = preset.codec.latent_size
    result = par_masks_stage(
        store, dataset, preset.par, grid, workers=executor_of(preset), speakers=speakers
    )
    strip = pictures.masks(store, dataset, fresh=result.computed > 0)
    shares = means(result, "mean_weight", "max_weight", "face_share", "hands_share")
    return report_of(store, "par_masks", {dataset: result}, {"PAR masks": strip}, shares)
