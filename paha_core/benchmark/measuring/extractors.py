"""Feature extractors of the metrics: every network by `Metric.reads`, or why it is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from paha_core.benchmark.measuring.videos import (
    KeypointSource,
    SystemVideo,
    load_frames,
    real_video,
)
from paha_core.config import Preset
from paha_core.engine.manifest_stage import kept_rows
from paha_core.engine.progress import Progress
from paha_core.errors import UserError
from paha_core.metrics import pose_features as pf
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.registry import METRICS, NETWORKS, Reads, fvd_stand_in, metrics_of
from paha_core.metrics.row import Missing
from paha_core.metrics.video_features import concatenated
from paha_core.store import sha256_file, sha256_json

if TYPE_CHECKING:
    from paha_core.metrics.video_features import VideoFeatures
    from paha_core.models.syncnet import SyncNet

NO_POSES = "the pose autoencoder is not trained on these poses: run `pose_autoencoder` first"
NO_VIDEO_ENCODER = "the video encoder is not trained on these clips: run `video_encoder` first"


class Extractor(Protocol):
    """The name and the weights' hash of the network behind a number."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...


class WindowExtractor(Extractor, Protocol):
    """The feature space of a Fréchet distance or of Diversity."""

    def features(self, video: SystemVideo) -> np.ndarray:
        """Features `[N, D]` of a video's windows; N is 0 where there is none."""
        ...

    def references(self) -> dict[str, np.ndarray]:
        """Features of the real training clips by dataset and of `all`: the same for every
        system."""
        ...


def weight_files(preset: Preset) -> dict[str, str]:
    """The sha256 of each weight file that the preset names and that exists."""
    settings = preset.benchmark
    names = ("syncnet", "i3d", "inception", "lpips", "arcface")
    named = {name: getattr(settings, name) for name in names}
    return {name: sha256_file(p) for name, p in named.items() if p and Path(p).is_file()}


class Extractors:
    """The networks that a preset's and a store's weights allow, each opened when first read."""

    def __init__(self, source: KeypointSource, device: str = "cpu") -> None:
        self.source, self.device = source, device
        self.store, self.preset = source.store, source.preset
        self.protocol = protocol_of(self.preset)
        self._opened: dict[Reads, Any] = {}

    def network(self, reads: Reads) -> Any:
        """The extractor of that name, or `Missing`."""
        if reads not in self._opened:
            try:
                self._opened[reads] = _OPEN[reads](self)
            except (FileNotFoundError, ValueError, UserError) as error:
                self._opened[reads] = Missing(str(error))
        return self._opened[reads]

    def missing(self, metric: str) -> Missing | None:
        """Why no video can have that metric; None where they can."""
        reads = METRICS[metric].reads
        network = self.network(reads) if reads in NETWORKS else None
        return network if isinstance(network, Missing) else None

    def window_extractors(self) -> dict[Reads, WindowExtractor]:
        """The extractors of this preset's distribution metrics, without missing ones."""
        wanted = {metric.reads for metric in metrics_of(self.preset) if metric.kind == "windows"}
        opened = {reads: self.network(reads) for reads in NETWORKS if reads in wanted}
        return {reads: one for reads, one in opened.items() if not isinstance(one, Missing)}

    def weights(self, metrics: list[str]) -> dict[str, tuple[str, str]]:
        """Name and weights' sha256 of each network that these metrics read."""
        reads = {METRICS[metric].reads for metric in metrics}
        opened = {name: self.network(name) for name in NETWORKS if name in reads}
        return {
            name: (one.name, one.sha256)
            for name, one in opened.items()
            if not isinstance(one, Missing)
        }


# --- poses: FGD, Diversity ------------------------------------------------------------------------


@dataclass(frozen=True)
class PoseSpace:
    """The trained autoencoder."""

    model: pf.PoseAutoencoder
    name: str
    sha256: str
    source: KeypointSource

    def features(self, video: SystemVideo) -> np.ndarray:
        keypoints = self.source.of(video)
        points = pf.gesture_points(keypoints) if keypoints is not None else None
        if points is None:
            return np.zeros((0, pf.FEATURES), np.float32)
        return pf.pose_features(self.model, pf.pose_windows(points, window=self.model.window))

    def references(self) -> dict[str, np.ndarray]:
        from paha_core.training.tasks.pose_autoencoder import load_windows

        window = self.model.window
        windows = load_windows(self.source.store, self.source.preset, "train", window).by_dataset
        found = {d: pf.pose_features(self.model, w) for d, w in windows.items()}
        return found | {"all": np.concatenate(list(found.values()))}


def _pose_autoencoder(extractors: Extractors) -> PoseSpace | Missing:
    from paha_core.training.tasks.pose_autoencoder import WEIGHTS, pose_run

    store, preset = extractors.store, extractors.preset
    if not pose_run(store, preset).is_done():
        return Missing(NO_POSES)
    model, sha256 = pf.load_autoencoder(store.read_bytes(WEIGHTS))
    name = f"pose-autoencoder[w{model.window}, 15 fps, {preset.pose.detector}]"
    return PoseSpace(model, name, sha256, extractors.source)


# --- frames: FVD, FID -----------------------------------------------------------------------


@dataclass(frozen=True)
class VideoSpace:
    """A network of videos or pictures; features are cached by content (`metrics/features/`)."""

    network: Extractor
    encode: Callable[[np.ndarray], np.ndarray]  # frames to features [N, D]
    extractors: Extractors

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def sha256(self) -> str:
        return self.network.sha256

    def path(self, video: SystemVideo) -> str:
        """Depends on the video, the network and the protocol."""
        protocol = self.extractors.protocol.sha256
        space = sha256_json([protocol, self.name, self.sha256])[:16]
        return f"metrics/features/{space}/{video.sha256}-{video.frames}.npy"

    def features(self, video: SystemVideo) -> np.ndarray:
        rel, store = self.path(video), self.extractors.store
        if store.exists(rel):
            with store.reading(rel) as path:
                return np.asarray(np.load(path, allow_pickle=False))
        found = self.encode(load_frames(store, video))
        with store.writing(rel) as path, open(path, "wb") as file:
            np.save(file, found)
        return found

    def references(self) -> dict[str, np.ndarray]:
        store, preset = self.extractors.store, self.extractors.preset
        rows = kept_rows(store, "clips", preset.corpora.datasets)
        rows = [row for row in rows if row["split"] == "train" and store.exists(row["path"])]
        protocol = self.extractors.protocol
        stride = max(1, -(-len(rows) // protocol.video_references))
        parts: dict[str, list[np.ndarray]] = {"all": []}
        with Progress(len(rows[::stride]), f"real features, {self.name}", unit="video") as progress:
            for row in rows[::stride]:
                video = real_video(row, protocol.max_frames)
                features = self.features(video)
                parts.setdefault(video.dataset, []).append(features)
                parts["all"].append(features)
                progress.update()
        return {name: concatenated(groups) for name, groups in parts.items()}


def _windows_of(network: VideoFeatures, extractors: Extractors) -> VideoSpace:
    from paha_core.metrics.video_features import video_features

    return VideoSpace(network, partial(video_features, network), extractors)


def _r3d(extractors: Extractors) -> VideoSpace | Missing:
    from paha_core.metrics.video_features import SmallR3D
    from paha_core.training.tasks.video_encoder import WEIGHTS, video_run

    store, preset = extractors.store, extractors.preset
    if not video_run(store, preset).is_done():
        return Missing(NO_VIDEO_ENCODER)
    name = fvd_stand_in(preset).name.removeprefix("fvd[").removesuffix("]")
    network = SmallR3D.load(store.read_bytes(WEIGHTS), f"{name}, not I3D", extractors.device)
    return _windows_of(network, extractors)


def _i3d(extractors: Extractors) -> VideoSpace | Missing:
    from paha_core.metrics.video_features import I3D

    path = extractors.preset.benchmark.i3d
    if not path:
        return Missing("needs I3D Kinetics-400 weights: benchmark.i3d names none")
    return _windows_of(I3D(path, extractors.device), extractors)


def _inception(extractors: Extractors) -> VideoSpace | Missing:
    from paha_core.metrics.picture_features import Inception

    path = extractors.preset.benchmark.inception
    if not path:
        return Missing("needs FID's Inception weights: benchmark.inception names none")
    network = Inception(path, extractors.device)
    return VideoSpace(network, network.features, extractors)


# --- one number a video ---------------------------------------------------------------------------


@dataclass(frozen=True)
class SyncNetwork:
    """SyncNet, and the rules of its face track, which its numbers depend on as well."""

    model: SyncNet
    name: str
    sha256: str


def _syncnet(extractors: Extractors) -> SyncNetwork | Missing:
    from paha_core.models.syncnet import load_syncnet

    path, rules = extractors.preset.benchmark.syncnet, extractors.protocol
    if not path:
        return Missing("needs SyncNet weights: benchmark.syncnet names none")
    model, sha256 = load_syncnet(path, extractors.device)
    faces = f"mediapipe boxes x {rules.sync_box_scale:g}, not S3FD"
    name = f"SyncNet, {faces}, tracks from {rules.min_track} frames, {rules.min_face} px"
    return SyncNetwork(model, name, sha256)


def _lpips(extractors: Extractors) -> Extractor | Missing:
    from paha_core.metrics.picture_features import LPIPS

    path = extractors.preset.benchmark.lpips
    if not path:
        return Missing("needs LPIPS weights: benchmark.lpips names none")
    return LPIPS(path, extractors.device)


def _arcface(extractors: Extractors) -> Extractor | Missing:
    from paha_core.metrics.identity import ArcFace

    path = extractors.preset.benchmark.arcface
    return ArcFace(path) if path else Missing("needs ArcFace weights: benchmark.arcface names none")


def _hog(extractors: Extractors) -> Extractor:
    from paha_core.metrics.identity import HogColour

    return HogColour()


_OPEN: dict[Reads, Callable[[Extractors], Any]] = {
    "pose_autoencoder": _pose_autoencoder,
    "r3d": _r3d,
    "i3d": _i3d,
    "inception": _inception,
    "lpips": _lpips,
    "syncnet": _syncnet,
    "arcface": _arcface,
    "hog": _hog,
}
