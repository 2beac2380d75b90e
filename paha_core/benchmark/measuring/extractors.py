"""The networks that metrics look through, opened once, and why one is not there."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paha_core.benchmark.measuring.videos import Video, load_frames
from paha_core.config import Preset
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.row import fvd_stand_in
from paha_core.store import Store, sha256_file, sha256_json

if TYPE_CHECKING:
    from paha_core.metrics.identity import FaceDescriptor
    from paha_core.metrics.sync import SyncNet
    from paha_core.metrics.video_features import VideoFeatures

SYNC_METRICS = ("sync_c", "sync_d", "face_track")


def weights_given(preset: Preset) -> dict[str, str]:
    """The sha256 of each weight file that the preset names and that is there."""
    settings = preset.benchmark
    named = {"syncnet": settings.syncnet, "i3d": settings.i3d, "arcface": settings.arcface}
    return {name: sha256_file(p) for name, p in named.items() if p and Path(p).is_file()}


class Extractors:
    """What a preset's and a store's weights allow; each attribute is a network, or words for its
    absence.
    """

    def __init__(self, store: Store, preset: Preset, device: str = "cpu") -> None:
        self.store, self.preset, self.device = store, preset, device
        self.protocol = protocol_of(preset)

    @cached_property
    def syncnet(self) -> tuple[SyncNet, str] | str:
        path = self.preset.benchmark.syncnet
        if not path:
            return "needs SyncNet weights: benchmark.syncnet names none"
        from paha_core.metrics.sync import load_syncnet

        return _or_reason(lambda: load_syncnet(path, self.device))

    @cached_property
    def faces(self) -> dict[str, FaceDescriptor | str]:
        """Face descriptors by metric."""
        from paha_core.metrics.identity import ArcFace, HogColour

        path = self.preset.benchmark.arcface
        missing = "needs ArcFace weights: benchmark.arcface names none"
        real = _or_reason(lambda: ArcFace(path)) if path else missing
        return {"identity": real, "identity_hog": HogColour()}

    @cached_property
    def spaces(self) -> dict[str, VideoFeatures | str]:
        """Video feature spaces by metric."""
        from paha_core.metrics.video_features import I3D

        path = self.preset.benchmark.i3d
        missing = "needs I3D Kinetics-400 weights: benchmark.i3d names none"
        real = _or_reason(lambda: I3D(path, self.device)) if path else missing
        return {"fvd": real, fvd_stand_in(self.preset): self._trained_space()}

    def _trained_space(self) -> VideoFeatures | str:
        from paha_core.metrics.video_features import SmallR3D
        from paha_core.training.tasks.video_encoder import WEIGHTS, video_run

        if not video_run(self.store, self.preset).is_done():
            return "the video encoder is not trained on these clips: materialise `video_encoder`"
        name = fvd_stand_in(self.preset).removeprefix("fvd[").removesuffix("]")
        return SmallR3D.load(self.store.read_bytes(WEIGHTS), f"{name}, not I3D", self.device)

    @cached_property
    def missing(self) -> dict[str, str]:
        """Why a whole metric can't be had, by metric."""
        found = {m: s for m, s in (self.faces | self.spaces).items() if isinstance(s, str)}
        if isinstance(self.syncnet, str):
            found |= dict.fromkeys(SYNC_METRICS, self.syncnet)
        return found

    @cached_property
    def named(self) -> dict[str, tuple[str, str]]:
        """Name and weights' sha256 of each metric's network."""
        there = (self.faces | self.spaces).items()
        found = {m: (s.name, s.sha256) for m, s in there if not isinstance(s, str)}
        if not isinstance(self.syncnet, str):
            track = f"tracks from {self.protocol.min_track} frames, {self.protocol.min_face} px"
            name = f"SyncNet, mediapipe faces, {track}"
            found |= dict.fromkeys(SYNC_METRICS, (name, self.syncnet[1]))
        return found

    @cached_property
    def per_video(self) -> dict[str, str]:
        """The weights that a single video's numbers depend on, for the key of their cache."""
        return {m: sha for m, (_, sha) in self.named.items() if m not in self.spaces}

    def features_path(self, metric: str, video: Video) -> str:
        """Where the features of a video are kept: by its content, the network and the protocol."""
        space = sha256_json([self.protocol.sha256, *self.named[metric]])[:16]
        return f"metrics/features/{space}/{video.sha256}-{video.frames}.npy"

    def video_features(self, metric: str, video: Video) -> np.ndarray:
        """Features `[N, D]` of a video's windows, kept by content; N may be 0."""
        from paha_core.metrics.video_features import video_features

        rel, store = self.features_path(metric, video), self.store
        if store.exists(rel):
            with store.reading(rel) as path:
                return np.asarray(np.load(path, allow_pickle=False))
        space = self.spaces[metric]
        assert not isinstance(space, str)
        found = video_features(space, load_frames(store, video))
        with store.writing(rel) as path, open(path, "wb") as file:
            np.save(file, found)
        return found


def _or_reason(load: Any) -> Any:
    """What `load` returns, or what it says when the file is not there or is another."""
    try:
        return load()
    except (FileNotFoundError, ValueError) as error:
        return str(error)
