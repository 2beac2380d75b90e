"""The steps of the pipeline, in order: the one code path behind assets, jobs and command line.

Each step is a function of a store and a preset that brings one stage up to date, does again only
what changed, and tells what it did as a `StepReport`. What a step needs beyond the standard library
is imported when it runs, so that listing the steps costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from paha_core.step_report import (
    OnFigures,
    StepError,
    StepReport,
    heard_by,
    means,
    merged,
    not_in_preset,
    report_of,
    require_manifest,
    require_path,
    trained,
)

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.store import Store


@dataclass(frozen=True)
class Workspace:
    """A preset by name or path, and the URL of its artifacts (empty: `runs/<preset>`)."""

    preset_name: str
    store_url: str = ""

    @cached_property
    def preset(self) -> Preset:
        """Raises `PresetError` naming each bad key."""
        from paha_core.config import load_preset

        return load_preset(self.preset_name)

    @cached_property
    def store(self) -> Store:
        from paha_core.store import Store

        return Store(self.store_url or f"runs/{self.preset.name}")


def workers_of(preset: Preset) -> int:
    """Processes for per-clip work."""
    return preset.workers or os.cpu_count() or 1


def prepare_torch(preset: Preset) -> str:
    """Set the number of threads; returns the device to use."""
    import torch

    if preset.threads:
        torch.set_num_threads(preset.threads)
    if preset.device != "auto":
        return preset.device
    return "cuda" if torch.cuda.is_available() else "cpu"


# --- data -----------------------------------------------------------------------------------------


def render_programmes(store: Store, preset: Preset) -> StepReport:
    """The studio corpus, rendered to `sources/`. A preset with real footage has nothing to render.

    Raises `StepError` when the store is not a local folder: encoders need files.
    """
    from paha_core.progress import Progress
    from paha_core.store import sha256_json

    studio = preset.corpora.studio
    if studio is None:
        return StepReport("programmes", figures={"source": "the preset's own footage"})
    if not store.is_local:
        raise StepError(
            f"the studio corpus is rendered to a local store, not to {store.url}: give a folder, "
            "or set corpora.pats.csv, corpora.pats.videos and corpora.cnas.programmes"
        )
    from paha_core.corpora.studio import render_corpus
    from paha_core.corpora.studio.identities import IDENTITIES

    with Progress(studio.programmes * len(IDENTITIES), "programmes", unit="programme") as progress:
        corpus = render_corpus(
            Path(store.full("sources")),
            programmes=studio.programmes,
            seconds=studio.seconds,
            height=studio.height,
            seed=studio.seed,
            workers=workers_of(preset),
            progress=lambda done, total: progress.update(),
        )
    listed = corpus.programmes
    computed = sum(p.rendered for p in listed)
    index = store.read_json("sources/corpus.json")
    return StepReport(
        "programmes",
        kept=len(listed),
        computed=computed,
        reused=len(listed) - computed,
        figures={"seconds": sum(p.frames / p.fps for p in listed), "speech": str(index["speech"])},
        artifacts={"programmes": store.uri("sources")},
        data_version=sha256_json(index["programmes"]),
    )


def ingest_clips(store: Store, preset: Preset, dataset: str) -> StepReport:
    """Clips of one dataset, from the preset's paths or else from the studio corpus."""
    from paha_core import pictures
    from paha_core.corpora.cnas import ingest_cnas
    from paha_core.corpora.pats import ingest_pats

    corpora, workers = preset.corpora, workers_of(preset)
    sources = Path(store.full("sources")) if store.is_local else Path("no-local-sources")
    if dataset == "pats" and corpora.pats is not None:
        csv = Path(corpora.pats.csv or sources / "pats" / "intervals.csv")
        videos = corpora.pats.videos or sources / "pats" / "videos"
        require_path(csv, "programmes")
        result = ingest_pats(store, corpora, csv, videos, workers=workers)
    elif dataset == "cnas" and corpora.cnas is not None:
        programmes = Path(corpora.cnas.programmes or sources / "cnas")
        require_path(programmes, "programmes")
        result = ingest_cnas(store, corpora, programmes, workers=workers)
    else:
        return not_in_preset("clips", dataset)
    strip = pictures.clips(store, dataset, fresh=result.computed > 0)
    return report_of(store, "clips", {dataset: result}, {"Middle frames": strip}, result.figures)


def find_keypoints(store: Store, preset: Preset, dataset: str) -> StepReport:
    """133 whole-body keypoints of every frame of every kept clip."""
    from paha_core import pictures
    from paha_core.pose.stage import keypoints_stage

    if dataset not in preset.corpora.datasets:
        return not_in_preset("keypoints", dataset)
    require_manifest(store, "clips", dataset)
    result = keypoints_stage(store, dataset, preset.pose, workers=workers_of(preset))
    strip = pictures.poses(store, dataset, fresh=result.computed > 0)
    shares = means(result, "body_share", "face_share", "left_hand_share", "right_hand_share")
    return report_of(store, "keypoints", {dataset: result}, {"Keypoints": strip}, shares)


def find_face_boxes(store: Store, preset: Preset, dataset: str) -> StepReport:
    """The face box of every frame of every kept clip."""
    from paha_core import pictures
    from paha_core.pose.stage import face_boxes_stage

    if dataset not in preset.corpora.datasets:
        return not_in_preset("face_boxes", dataset)
    source = "keypoints" if preset.pose.faces_from_keypoints else "clips"
    require_manifest(store, source, dataset)
    result = face_boxes_stage(store, dataset, preset.pose, workers=workers_of(preset))
    strip = pictures.faces(store, dataset, fresh=result.computed > 0)
    share = means(result, "face_share")
    return report_of(store, "face_boxes", {dataset: result}, {"Face boxes": strip}, share)


def make_par_masks(store: Store, preset: Preset, dataset: str) -> StepReport:
    """The loss weight of every latent cell (equations 2 and 3)."""
    from paha_core import pictures
    from paha_core.par import par_masks_stage

    if dataset not in preset.corpora.datasets:
        return not_in_preset("par_masks", dataset)
    require_manifest(store, "keypoints", dataset)
    grid = preset.codec.latent_size
    result = par_masks_stage(store, dataset, preset.par, grid, workers=workers_of(preset))
    strip = pictures.masks(store, dataset, fresh=result.computed > 0)
    shares = means(result, "mean_weight", "max_weight", "face_share", "hands_share")
    return report_of(store, "par_masks", {dataset: result}, {"PAR masks": strip}, shares)


# --- networks -------------------------------------------------------------------------------------


def train_latent_codec(
    store: Store, preset: Preset, on_figures: OnFigures | None = None
) -> StepReport:
    """The corpus' own latent codec, unless the preset names a pretrained one."""
    from paha_core.training.codec import codec_run, train_codec

    prepare_torch(preset)
    if preset.codec.pretrained:
        name = preset.codec.pretrained
        return StepReport("latent_codec", figures={"pretrained": name}, data_version=name)
    run = codec_run(store, preset)
    return trained(run, lambda: train_codec(store, preset, heard_by(run, on_figures)))


def make_training_shards(store: Store, preset: Preset) -> StepReport:
    """Every clip encoded (latents, audio, reference, masks), in WebDataset shards."""
    from paha_core.models.audio_encoder import open_audio_encoder
    from paha_core.models.reference_encoder import open_reference_encoder
    from paha_core.shards.stage import training_shards_stage
    from paha_core.training.codec import load_codec

    device = prepare_torch(preset)
    results = training_shards_stage(
        store,
        preset.shards,
        preset.codec.size,
        load_codec(store, preset, device),
        open_audio_encoder(preset.audio, device),
        open_reference_encoder(preset.reference, device),
        datasets=preset.corpora.datasets,
    )
    return report_of(store, "training_shards", results, {})


def train_univdm(store: Store, preset: Preset, on_figures: OnFigures | None = None) -> StepReport:
    """The generator, with the PAR loss."""
    from paha_core.models.audio_encoder import open_audio_encoder
    from paha_core.models.reference_encoder import open_reference_encoder
    from paha_core.training import univdm
    from paha_core.training.codec import load_codec

    device = prepare_torch(preset)
    run = univdm.univdm_run(store, preset)

    def train() -> bool:
        encoders = (
            load_codec(store, preset, device),
            open_audio_encoder(preset.audio, device),
            open_reference_encoder(preset.reference, device),
        )
        heard = heard_by(run, on_figures)
        return univdm.train_univdm(store, preset, *encoders, run=heard, device=device)

    return trained(run, train)


def make_negatives(store: Store, preset: Preset) -> StepReport:
    """The classifiers' label 0: clips the half-trained generator made."""
    from paha_core.inference import negatives

    result = negatives.make_negatives(store, preset, device=prepare_torch(preset))
    return report_of(store, "negative_samples", result, {})


def train_classifier(
    store: Store,
    preset: Preset,
    part: Literal["face", "non_face"],
    on_figures: OnFigures | None = None,
) -> StepReport:
    """One of the two sync classifiers, and its audio-swap gate."""
    from paha_core.training import classifier

    device = prepare_torch(preset)
    run = classifier.classifier_run(store, preset, part)

    def train() -> bool:
        heard = heard_by(run, on_figures)
        return classifier.train_classifier(store, preset, part, run=heard, device=device)

    return trained(run, train, gate=f"{run.folder}/gate.json")


# --- results --------------------------------------------------------------------------------------


def generate_clips(store: Store, preset: Preset) -> StepReport:
    """Videos for held-out audio, in every mode of the preset."""
    from paha_core import pictures
    from paha_core.inference.generate import generate_held_out

    results = generate_held_out(store, preset, device=prepare_torch(preset))
    fresh = any(result.computed for result in results.values())
    strip = pictures.generated(store, preset, fresh=fresh)
    return report_of(store, "generated_clips", results, {"Real, then generated": strip})


def train_pose_autoencoder(
    store: Store, preset: Preset, on_figures: OnFigures | None = None
) -> StepReport:
    """The space of FGD and Diversity, trained on the corpus' real poses."""
    from paha_core.training import pose_autoencoder

    prepare_torch(preset)
    for dataset in preset.corpora.datasets:
        require_manifest(store, "keypoints", dataset)
    run = heard_by(pose_autoencoder.pose_run(store, preset), on_figures)
    return trained(run, lambda: pose_autoencoder.train_pose_autoencoder(store, preset, run))


def run_benchmark(store: Store, preset: Preset) -> StepReport:
    """Every metric of every system under one protocol."""
    from paha_core.benchmark import run

    device = prepare_torch(preset)
    before = run.load_results(store)
    rows = run.run_benchmark(store, preset, workers=workers_of(preset), device=device)
    after = run.load_results(store)
    same = before is not None and after is not None and before[0] == after[0]
    missing: dict[str, int] = {}
    for row in rows:
        if row.value is None:
            missing[row.reason] = missing.get(row.reason, 0) + 1
    values = [row for row in rows if row.value is not None]
    scope = "all" if any(row.dataset == "all" for row in rows) else None
    return StepReport(
        "benchmark",
        kept=len(values),
        rejected=len(rows) - len(values),
        computed=0 if same else len(rows),
        reused=len(rows) if same else 0,
        reasons=missing,
        figures={
            f"{row.system} {row.metric}": float(row.value)
            for row in values
            if row.value is not None and row.dataset == (scope or row.dataset)
        },
        artifacts={"results": store.uri(f"{run.RESULTS}.json")},
        data_version=after[0] if after else "",
    )


def build_report(store: Store, preset: Preset) -> StepReport:
    """The page that shows the run."""
    from paha_core.benchmark.report import build_report as build
    from paha_core.store import sha256_json

    rel = build(store, preset)
    page = store.read_bytes(rel)
    return StepReport(
        "report",
        kept=1,
        computed=1,
        figures={"bytes": len(page)},
        artifacts={"report": store.uri(rel), "videos": store.uri("generated")},
        data_version=sha256_json(page.decode()),
    )


# --- the list -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """How a step is called: once for each dataset, with live figures, or plainly."""

    run: Callable[..., StepReport]
    per_dataset: bool = False
    trains: bool = False
    arguments: tuple[str | int, ...] = ()

    @property
    def about(self) -> str:
        return (self.run.__doc__ or "").strip().splitlines()[0]


STEPS: dict[str, Step] = {
    "programmes": Step(render_programmes),
    "clips": Step(ingest_clips, per_dataset=True),
    "keypoints": Step(find_keypoints, per_dataset=True),
    "face_boxes": Step(find_face_boxes, per_dataset=True),
    "par_masks": Step(make_par_masks, per_dataset=True),
    "latent_codec": Step(train_latent_codec, trains=True),
    "training_shards": Step(make_training_shards),
    "univdm": Step(train_univdm, trains=True),
    "negative_samples": Step(make_negatives),
    "face_classifier": Step(train_classifier, trains=True, arguments=("face",)),
    "non_face_classifier": Step(train_classifier, trains=True, arguments=("non_face",)),
    "generated_clips": Step(generate_clips),
    "pose_autoencoder": Step(train_pose_autoencoder, trains=True),
    "benchmark": Step(run_benchmark),
    "report": Step(build_report),
}


def run_table(store: Store, preset: Preset, number: int) -> StepReport:
    """One of the paper's tables: its rows generated, measured, and held against what it claims."""
    from paha_core.benchmark.suite import run_suite

    device = prepare_torch(preset)
    result = run_suite(store, preset, number, workers=workers_of(preset), device=device)
    verdicts = [cell.verdict for cell in result.comparisons]
    counts = {f"cells {word}": verdicts.count(word) for word in dict.fromkeys(verdicts)}
    return StepReport(
        f"table{number}",
        kept=sum(row.value is not None for row in result.rows),
        rejected=sum(row.value is None for row in result.rows),
        computed=int(result.computed),
        reused=int(not result.computed),
        figures={**counts, "table": result.markdown},
        artifacts={"results": store.uri(result.path)},
        data_version=result.fingerprint,
    )


# The tables that can be run; table 4 is the user study. On demand: no part of a whole run.
TABLES: dict[str, Step] = {
    f"table{number}": Step(run_table, arguments=(number,)) for number in (1, 2, 3, 5, 6, 7)
}


def run_step(
    name: str,
    workspace: Workspace,
    *,
    datasets: list[str] | None = None,
    on_figures: OnFigures | None = None,
) -> StepReport:
    """Run the step of that name; a step over datasets runs for each of `datasets` (default: the
    preset's).

    Raises `PresetError` for a bad preset and `StepError` for an unknown name, before anything is
    done.
    """
    known = STEPS | TABLES
    if name not in known:
        raise StepError(f"no step {name!r}: there are {', '.join(known)}")
    step, preset, store = known[name], workspace.preset, workspace.store
    if step.per_dataset:
        names = preset.corpora.datasets if datasets is None else datasets
        return merged([step.run(store, preset, dataset) for dataset in names])
    if step.trains:
        return step.run(store, preset, *step.arguments, on_figures=on_figures)
    return step.run(store, preset, *step.arguments)
