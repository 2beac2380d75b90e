"""The stages that encode the clips and train networks on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paha_core.stages.stage_report import (
    OnMetrics,
    StageReport,
    report_of,
    require_manifest,
    trained,
    with_metrics_callback,
)
from paha_core.stages.workspace import prepare_torch, workers_of
from paha_core.trained import UNIVDM, UNIVDM_FAST, classifier_name

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.store import Store
    from paha_core.trained import Part


DECODERS = (
    8  # threads: each holds a decoded clip, 300 MB at most; more would not feed one GPU faster
)


def train_latent_codec(
    store: Store, preset: Preset, on_metrics: OnMetrics | None = None
) -> StageReport:
    """The corpus' own latent codec, unless the preset names a pretrained one."""
    from paha_core.training.tasks.codec import codec_run, train_codec

    device = prepare_torch(preset)
    if preset.codec.pretrained:
        name = preset.codec.pretrained
        return StageReport("latent_codec", figures={"pretrained": name}, data_version=name)
    run = codec_run(store, preset, device)
    return trained(run, lambda: train_codec(store, preset, with_metrics_callback(run, on_metrics)))


def make_training_shards(store: Store, preset: Preset) -> StageReport:
    """Every clip encoded (latents, audio, reference, masks), in WebDataset shards."""
    from paha_core.models.audio_encoder import open_audio_encoders
    from paha_core.models.load import load_codec
    from paha_core.models.reference_encoder import open_reference_encoder
    from paha_core.shards.stage import training_shards_stage

    device = prepare_torch(preset)
    results = training_shards_stage(
        store,
        preset.shards,
        preset.codec.size,
        load_codec(store, preset, device),
        open_audio_encoders(preset.audio, preset.corpora.datasets, device),
        open_reference_encoder(preset.reference, device),
        workers=min(workers_of(preset), DECODERS),
    )
    return report_of(store, "training_shards", results, {})


def train_univdm(store: Store, preset: Preset, on_metrics: OnMetrics | None = None) -> StageReport:
    """The generator, with the PAR loss."""
    from paha_core.training import parallel

    run = parallel.new_run(store, preset, UNIVDM, prepare_torch(preset))
    run = with_metrics_callback(run, on_metrics)
    return trained(run, lambda: parallel.train(store, preset, run))


def distill_univdm(
    store: Store, preset: Preset, on_metrics: OnMetrics | None = None
) -> StageReport:
    """The generator's student with few steps."""
    from paha_core.training import parallel

    run = parallel.new_run(store, preset, UNIVDM_FAST, prepare_torch(preset))
    run = with_metrics_callback(run, on_metrics)
    return trained(run, lambda: parallel.train(store, preset, run))


def make_negatives(store: Store, preset: Preset) -> StageReport:
    """The classifiers' label 0: clips the half-trained generator made."""
    from paha_core.inference import negatives

    result = negatives.make_negatives(store, preset, device=prepare_torch(preset))
    return report_of(store, "negative_samples", result, {})


def train_classifier(
    store: Store,
    preset: Preset,
    part: Part,
    on_metrics: OnMetrics | None = None,
) -> StageReport:
    """One of the two sync classifiers, and its audio-swap gate."""
    from paha_core.trained import gate_figures, gate_verdict
    from paha_core.training import parallel

    run = parallel.new_run(store, preset, classifier_name(part), prepare_torch(preset))
    run = with_metrics_callback(run, on_metrics)
    report = trained(run, lambda: parallel.train(store, preset, run))
    gate = gate_verdict(store, preset, run.name)
    assert gate is not None  # training ends with it
    report.figures.update({f"audio swap, {name}": v for name, v in gate_figures(gate).items()})
    report.figures["audio swap, passed"] = str(gate["passed"])
    return report


def train_pose_autoencoder(
    store: Store, preset: Preset, on_metrics: OnMetrics | None = None
) -> StageReport:
    """The feature extractor of FGD and Diversity, trained on the corpus' real poses."""
    from paha_core.training.tasks import pose_autoencoder

    device = prepare_torch(preset)
    for dataset in preset.corpora.datasets:
        require_manifest(store, "keypoints", dataset)
    run = with_metrics_callback(pose_autoencoder.pose_run(store, preset, device), on_metrics)
    return trained(run, lambda: pose_autoencoder.train_pose_autoencoder(store, preset, run))


def train_video_encoder(
    store: Store, preset: Preset, on_metrics: OnMetrics | None = None
) -> StageReport:
    """The feature extractor of FVD's stand-in, trained on the corpus' real training clips."""
    from paha_core.training.tasks import video_encoder

    device = prepare_torch(preset)
    for dataset in preset.corpora.datasets:
        require_manifest(store, "clips", dataset)
    run = with_metrics_callback(video_encoder.video_run(store, preset, device), on_metrics)
    return trained(run, lambda: video_encoder.train_video_encoder(store, preset, run))
