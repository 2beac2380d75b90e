"""What a report shows of a run besides metrics: data, stand-ins, provenance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from paha_core.benchmark.report.svg import Curve
from paha_core.config import Preset
from paha_core.config.encoders import AUDIO_ENCODERS, REFERENCE_ENCODERS
from paha_core.engine.manifest_stage import KEPT, read_manifest
from paha_core.media import FPS
from paha_core.metrics.registry import METRICS, fvd_stand_in
from paha_core.store import Store, sha256_file, sha256_json
from paha_core.trained import NETWORKS, read_log

LONG_VIDEO = "benchmark/long_video.json"  # of benchmarks/long_video.py


@dataclass(frozen=True)
class DatasetCard:
    name: str
    kept: int
    rejected: int
    train: int
    test: int
    seconds: float
    speakers: dict[str, int]  # kept clips by speaker
    reasons: dict[str, int]  # rejected clips by reason


def dataset_cards(store: Store, preset: Preset) -> list[DatasetCard]:
    """One card per dataset whose `clips` manifest exists."""
    cards = []
    for name in preset.corpora.datasets:
        rows = read_manifest(store, "clips", name)
        if not rows:
            continue
        kept = [row for row in rows if row["status"] == KEPT]
        splits = Counter(row["split"] for row in kept)
        seconds = 0.0
        for row in kept:
            if row.get("frames"):
                seconds += row["frames"] / FPS
            elif row.get("start") is not None and row.get("end") is not None:
                seconds += row["end"] - row["start"]
        cards.append(
            DatasetCard(
                name,
                len(kept),
                len(rows) - len(kept),
                splits["train"],
                splits["test"],
                seconds,
                dict(sorted(Counter(row["speaker"] for row in kept).items())),
                dict(Counter(row["reason"] for row in rows if row["status"] != KEPT).most_common()),
            )
        )
    return cards


def long_video(store: Store) -> list[dict[str, float | str]]:
    """The last results of `benchmarks/long_video.py` on this run, one row per method and length."""
    return list(store.read_json(LONG_VIDEO, absent=[]))


@dataclass(frozen=True)
class StandIn:
    """A part that takes another's place, under its own name."""

    part: str
    name: str
    instead_of: str


def stand_ins(preset: Preset) -> list[StandIn]:
    """Every part of this run that is not what the paper used."""
    found = []

    def add(replaced: bool, part: str, name: str, instead_of: str) -> None:
        if replaced:
            found.append(StandIn(part, name, instead_of))

    drawn = preset.corpora.studio is not None
    add(drawn, "Footage", "studio: drawn presenters, synthetic speech", "PATS and CNAS footage")
    add(preset.pose.detector != "dwpose", "Keypoints", preset.pose.detector, "DWPose")
    small = "a small latent codec trained on this corpus"
    add(preset.codec.pretrained is None, "Codec", small, "Stable Diffusion's autoencoder")
    for part, encoder, registry in (
        ("Audio", preset.audio.encoder, AUDIO_ENCODERS),
        ("Reference", preset.reference.encoder, REFERENCE_ENCODERS),
    ):
        instead_of = registry[encoder].instead_of
        add(bool(instead_of), part, f"{encoder} features", instead_of)
    scratch = "UniVDM trained from scratch"
    add(preset.univdm.network.pretrained is None, "Network", scratch, "pretrained video weights")
    metrics = preset.benchmark
    for weights, part, name, instead_of in (
        (metrics.i3d, "FVD", fvd_stand_in(preset).title, "I3D's features"),
        (metrics.syncnet, "Sync-C", "lip correlation of landmarks", "SyncNet"),
        (metrics.arcface, "Identity", METRICS["identity_hog"].title, "ArcFace"),
    ):
        add(weights is None, part, name, instead_of)
    return found


def forced_guidance(store: Store, preset: Preset) -> list[str]:
    """Classifiers that guided this run's videos without having passed their audio-swap gate."""
    named: set[str] = set()
    for mode in preset.generation.modes:
        for row in read_manifest(store, "generated_clips", mode):
            named |= set(filter(None, (row.get("gates_failed") or "").split(", ")))
    return sorted(named)


def training_curves(store: Store) -> dict[str, Curve]:
    """By network name; one without a log is absent."""
    curves = {}
    for name, title in NETWORKS.items():
        log = read_log(store, name)
        loss, validation = (
            [(int(line["step"]), float(line[key])) for line in log if line.get(key) is not None]
            for key in ("loss", "validation_loss")
        )
        if loss or validation:
            curves[name] = Curve(title, loss, validation)
    return curves


@dataclass(frozen=True)
class CheckpointFile:
    path: str
    bytes: int
    sha256: str


def weights_of(store: Store) -> list[CheckpointFile]:
    """Every weight file under `checkpoints/`, hashed."""
    found = []
    for rel in store.glob("checkpoints/**/*.safetensors"):
        with store.reading(rel) as path:
            found.append(CheckpointFile(rel, path.stat().st_size, sha256_file(path)))
    return found


def preset_sha256(preset: Preset) -> str:
    return sha256_json(preset.settings())
