"""The report's pictures: video players, frame strips, the PAR mask over a frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from paha_core.benchmark.measuring.systems import external_systems
from paha_core.benchmark.measuring.videos import (
    KeypointSource,
    SystemVideo,
    at_clip_size,
    collect_videos,
    load_frames,
    real_video,
)
from paha_core.benchmark.report.svg import TITLES, data_uri, palette, picture_uri
from paha_core.config import Preset
from paha_core.engine.manifest_stage import clip_key, kept_rows
from paha_core.media.frames import FPS, strip
from paha_core.store import Store

EMBED_LIMIT = 30_000_000  # bytes of video; beyond it they lie beside the page
STRIP_FRAMES, STRIP_SIDE = 10, 112


@dataclass(frozen=True)
class Track:
    system: str
    css: str
    title: str
    source: str  # data URI, or a path relative to the page


@dataclass(frozen=True)
class Player:
    """The videos of one held-out clip, played together on one sound."""

    clip_id: str
    seconds: float
    audio: str
    tracks: list[Track]


@dataclass(frozen=True)
class Strip:
    clip_id: str
    rows: list[tuple[str, str]]  # (title, picture URI)


@dataclass(frozen=True)
class Overlay:
    clip_id: str
    plain: str
    mask: str
    largest: float  # the largest weight in the frame


def _by_clip(store: Store, preset: Preset) -> dict[str, dict[str, SystemVideo]]:
    """Videos of each generated clip by system, including imported ones; empty before generation."""
    systems = collect_videos(store, preset)
    systems |= external_systems(store, systems["real"])
    found: dict[str, dict[str, SystemVideo]] = {}
    for system, videos in systems.items():
        for video in videos:
            found.setdefault(video.clip_id, {})[system] = video
    modes = set(preset.generation.modes)
    return {clip_id: group for clip_id, group in sorted(found.items()) if modes & set(group)}


def players(store: Store, preset: Preset, *, limit: int = EMBED_LIMIT) -> tuple[list[Player], bool]:
    """One player per generated clip, and whether everything is inside the page."""
    clips = _by_clip(store, preset)
    paths = {v.path for group in clips.values() for v in group.values()}
    paths |= {v.audio_path for group in clips.values() for v in group.values()}
    embed = sum(store.size(path) for path in paths if store.exists(path)) <= limit

    def place(name: str) -> Callable[[str], str]:
        def put(path: str) -> str:
            suffix = path.rsplit(".", 1)[-1]
            kind = {"mp4": "video/mp4", "wav": "audio/wav"}.get(suffix, "application/octet-stream")
            data = store.read_bytes(path)
            if embed:
                return data_uri(data, kind)
            store.write_bytes(f"report/media/{name}.{suffix}", data)
            return f"media/{name}.{suffix}"

        return put

    css = palette(system for group in clips.values() for system in group)
    found = []
    for clip_id, group in clips.items():
        key = clip_key(clip_id)
        tracks = [
            Track(
                system,
                css[system],
                TITLES.get(system, system),
                place(f"{key}.{system}")(video.path),
            )
            for system, video in group.items()
            if store.exists(video.path)
        ]
        first = next(iter(group.values()))
        audio = ""
        if store.exists(first.audio_path):
            audio = place(f"{key}.audio")(first.audio_path)
        found.append(Player(clip_id, first.frames / FPS, audio, tracks))
    return found, embed


def strips(store: Store, preset: Preset, *, most: int = 4) -> list[Strip]:
    """Frames at the same instants, real above generated, for clips spread over the speakers."""
    clips = list(_by_clip(store, preset).items())
    picks = np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int)
    found = []
    for clip_id, group in (clips[i] for i in picks):
        rows = []
        for system, video in group.items():
            picture = strip(load_frames(store, video), STRIP_FRAMES, STRIP_SIDE)
            rows.append((TITLES.get(system, system), picture_uri(picture)))
        found.append(Strip(clip_id, rows))
    return found


def overlays(store: Store, preset: Preset) -> list[Overlay]:
    """One frame per dataset with its keypoints and PAR weights (equations 2 and 3)."""
    from paha_core.par import par_weights
    from paha_core.pose.draw import draw_pose

    source = KeypointSource(store, preset)
    found = []
    for dataset in preset.corpora.datasets:
        row = next((r for r in kept_rows(store, "clips", [dataset])), None)
        keypoints = source.real(row["clip_id"]) if row else None
        if row is None or keypoints is None or not store.exists(row["path"]):
            continue
        count = len(keypoints)
        frames = load_frames(store, real_video(row, count))
        frames = at_clip_size(frames, preset.evaluation_size)
        at = min(len(frames), len(keypoints)) // 2
        grid = math.gcd(preset.codec.latent_size, *keypoints.size)  # cells must fit the frame
        points, scores = keypoints.points[at : at + 1], keypoints.scores[at : at + 1]
        weights = par_weights(points, scores, keypoints.size, preset.par, grid)[0]
        drawn = draw_pose(frames[at], points[0], scores[0], weights=weights)
        largest = float(weights.max())
        found.append(Overlay(row["clip_id"], picture_uri(frames[at]), picture_uri(drawn), largest))
    return found
