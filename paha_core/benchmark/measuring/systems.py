"""Systems compared with ours: imported videos of other systems, and controls made of the real ones.

Controls put a number into perspective: `real_exchanged` (real video, another clip's voice),
`random_real` (another real clip of the speaker) and `frozen` (the first frame, held).
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from paha_core.benchmark.measuring.videos import (
    EXTERNAL,
    Systems,
    SystemVideo,
    even_sides,
    load_frames,
    real_video,
)
from paha_core.config import Preset
from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import (
    KEPT,
    REJECTED,
    Rejection,
    clip_key,
    kept_rows,
    read_manifest,
    stage_schema,
)
from paha_core.errors import StageError
from paha_core.media import AUDIO_SUFFIXES, FPS, VIDEO_SUFFIXES
from paha_core.metrics.diversity import derangement
from paha_core.store import Store, sha256_file

STAGE = "systems"
SHORTEST = 16  # frames: one window of FVD, and what a correlation of lips needs
FINE = 10  # x264's crf where a video must be encoded again: no loss to see
CONTROLS = ("real_exchanged", "random_real", "frozen")
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
SCHEMA = stage_schema(
    pa.schema(
        [
            ("frames", pa.int32()),  # evaluated frames, from the start
            ("source_frames", pa.int32()),  # frames of the video, at 25 fps
            ("max_frames", pa.int32()),  # `generation.max_frames` when it was imported
            ("audio_path", pa.string()),
            ("audio_sha256", pa.string()),
            ("reference", pa.string()),
            ("reference_sha256", pa.string()),
            ("source_fps", pa.float64()),
        ]
    )
)


class SystemRow(TypedDict):
    """What `SCHEMA` adds to the columns that every manifest has."""

    path: str
    sha256: str
    fingerprint: str
    frames: int
    source_frames: int
    max_frames: int
    audio_path: str
    audio_sha256: str
    reference: str
    reference_sha256: str
    source_fps: float


# --- other systems --------------------------------------------------------------------------------


def ingest_system(
    store: Store,
    preset: Preset,
    name: str,
    videos: Path,
    audio: Path,
    references: Path | None = None,
) -> list[dict[str, Any]]:
    """Import a system's videos as `systems/<name>/`; returns the manifest's rows.

    A video belongs to the voice (and reference) of the same stem. A stem that is a held-out clip's
    key (`pats__oliver__12`) is compared with that clip; any other only with itself. A video at 25
    fps is used unchanged, one of another rate is converted to it. What can't be used, a training
    clip's video among it, is a rejected row with its reason. Raises `StageError` for an invalid
    name or a missing folder, and where no video can be used; the system's earlier videos are kept
    then.
    """
    reserved = ("real", *CONTROLS, *preset.generation.modes)
    if not re.fullmatch(NAME, name) or name in reserved:
        taken = ", ".join(reserved)
        raise StageError(f"{name!r} can't name a system: letters, digits, - _ . and not {taken}")
    for folder in (videos, audio, *([references] if references else [])):
        if not folder.is_dir():
            raise StageError(f"no folder {folder}")
    files = sorted(path for path in videos.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise StageError(f"no videos in {videos}: {', '.join(VIDEO_SUFFIXES)} are taken")
    clips = {
        clip_key(row["clip_id"]): row for row in kept_rows(store, "clips", preset.corpora.datasets)
    }
    rows = []
    for path in files:
        clip = clips.get(path.stem)
        clip_id = clip["clip_id"] if clip else f"{EXTERNAL}/{name}/{path.stem}"
        dataset, speaker, _ = clip_id.split("/", 2)
        row = {"clip_id": clip_id, "dataset": dataset, "speaker": speaker}
        row |= {"split": clip["split"] if clip else "test"}
        row |= {"status": KEPT, "reason": "", "fingerprint": "", "path": "", "sha256": ""}
        try:
            if row["split"] != "test":
                raise Rejection("shows a training clip: only held-out ones are compared")
            row |= _ingest_one(store, preset, name, path, audio, references)
        except Rejection as rejection:
            row |= {"status": REJECTED, "reason": str(rejection)}
        rows.append(row)
    if all(row["status"] == REJECTED for row in rows):
        reasons = Counter(row["reason"] for row in rows)
        common = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        raise StageError(f"none of the {len(rows)} videos of {name} can be used: {common}")
    filled = [{column: row.get(column) for column in SCHEMA.names} for row in rows]
    store.write_table(manifest_path(STAGE, name), pa.Table.from_pylist(filled, schema=SCHEMA))
    return filled


def remove_system(store: Store, name: str) -> None:
    """Remove an imported system and its videos. Raises `StageError` for an unknown name."""
    rel = manifest_path(STAGE, name)
    if not re.fullmatch(NAME, name) or not store.exists(rel):
        known = ", ".join(system_names(store)) or "none"
        raise StageError(f"no system {name!r} was imported; there are: {known}")
    store.remove(rel)  # first: a manifest without videos would be a broken system
    store.remove(f"systems/{name}")


def system_names(store: Store) -> list[str]:
    """The names of the imported systems."""
    found = store.glob(f"manifests/{STAGE}/*.parquet")
    return [rel.rsplit("/", 1)[1].removesuffix(".parquet") for rel in found]


def _ingest_one(
    store: Store, preset: Preset, name: str, path: Path, audio: Path, references: Path | None
) -> SystemRow:
    from paha_core.media.audio import read_audio, write_wav
    from paha_core.media.encode import write_video
    from paha_core.media.ffmpeg import MediaError
    from paha_core.media.probe import probe
    from paha_core.media.timeline import frame_times, frames_at_rate, is_steady

    voice = _beside(audio, path.stem, (*AUDIO_SUFFIXES, *VIDEO_SUFFIXES))
    if voice is None:
        raise Rejection(f"no audio of that name in {audio.name}")
    limit = preset.generation.max_frames
    try:
        info, wave = probe(path), read_audio(voice, 16_000, limit / FPS)
        most = min(limit, round(len(wave) / 16_000 * FPS))
        times = frame_times(path, end=most / FPS)
    except MediaError as error:
        raise Rejection(str(error)) from None
    as_it_is = is_steady(times[:-1], FPS, start=0)
    count = min(most, len(times) - 1 if as_it_is else round(times[-1] * FPS))
    if count < SHORTEST:
        raise Rejection(f"picture and voice have {count} frames in common, {SHORTEST} are needed")
    reference = _reference(references, path.stem) if references else None
    stem = f"systems/{name}/{path.stem}"
    made = f"{stem}{path.suffix.lower()}" if as_it_is else f"{stem}.mp4"
    with store.writing(made) as target:
        if as_it_is:  # encoding an encoded video again would blur it
            shutil.copyfile(path, target)
        else:
            frames = (frame.to_rgb() for frame in frames_at_rate(path, FPS, count))
            write_video(target, map(even_sides, frames), crf=FINE)
        sha256 = sha256_file(target)
    with store.writing(f"{stem}.wav") as target:
        write_wav(target, wave[: round(count / FPS * 16_000)], 16_000)
        audio_sha256 = sha256_file(target)
    reference_path, reference_sha256 = "", ""
    if reference is not None:
        reference_path = f"{stem}.reference{reference.suffix.lower()}"
        reference_sha256 = store.write_bytes(reference_path, reference.read_bytes())
    return {
        "path": made,
        "sha256": sha256,
        "fingerprint": sha256,
        "frames": count,
        "source_frames": max(count, round(info.duration * FPS)),
        "max_frames": limit,
        "audio_path": f"{stem}.wav",
        "audio_sha256": audio_sha256,
        "reference": reference_path,
        "reference_sha256": reference_sha256,
        "source_fps": info.fps,
    }


def _reference(folder: Path, stem: str) -> Path | None:
    """The portrait of that name; one that can't be read is a `Rejection`."""
    from paha_core.media.ffmpeg import MediaError
    from paha_core.media.picture import SUFFIXES, read_picture

    path = _beside(folder, stem, SUFFIXES)
    if path is not None:
        try:
            read_picture(path)
        except MediaError as error:
            raise Rejection(f"its reference {path.name}: {error}") from None
    return path


def _beside(folder: Path, stem: str, suffixes: Sequence[str]) -> Path | None:
    """The file of that stem whose ending, in any case, comes first among `suffixes`; None without
    any file of that stem, a `Rejection` where only other endings are there."""
    found = [p for p in folder.iterdir() if p.is_file() and _same_name(p.stem, stem)]
    known = [path for path in found if path.suffix.lower() in suffixes]
    if found and not known:
        endings = ", ".join(suffixes)
        raise Rejection(f"{folder.name}/{found[0].name} has none of the endings {endings}")
    return min(known, key=lambda path: suffixes.index(path.suffix.lower()), default=None)


def _same_name(one: str, other: str) -> bool:
    """Whether two file names are equal in Unicode's composed form: file systems differ in that."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def external_systems(store: Store, real: list[SystemVideo]) -> Systems:
    """The videos of every imported system; where a video shows a held-out clip, its reference is
    ours."""
    ours = {video.clip_id: video for video in real}
    systems: Systems = {}
    for name in system_names(store):
        systems[name] = []
        for row in read_manifest(store, STAGE, name):
            if row["status"] != KEPT:
                continue
            known = ours.get(row["clip_id"])
            reference = row["reference"] or (known.reference if known else "")
            frames = min(row["frames"], known.frames) if known else row["frames"]
            named = (name, row["clip_id"], row["path"], row["sha256"])
            systems[name].append(SystemVideo(*named, frames, row["audio_path"], reference))
    return systems


# --- controls -------------------------------------------------------------------------------------


def control_systems(store: Store, preset: Preset, real: list[SystemVideo]) -> Systems:
    """The built-in reference rows, over the same voices as `real`."""
    if not real:
        return {name: [] for name in CONTROLS}
    rng = np.random.default_rng(preset.benchmark.seed)
    exchanged: list[SystemVideo] = []
    if len(real) > 1:
        order = derangement(len(real), rng)
        exchanged = [_seen_in("real_exchanged", v, real[k]) for v, k in zip(real, order)]
    return {
        "real_exchanged": exchanged,
        "random_real": _random_real(store, preset, real, rng),
        "frozen": [_frozen(store, preset, video) for video in real],
    }


def _seen_in(system: str, voice: SystemVideo, other: SystemVideo) -> SystemVideo:
    """The voice of one clip over the picture of another."""
    frames = min(voice.frames, other.frames)
    return replace(
        voice,
        system=system,
        frames=frames,
        path=other.path,
        sha256=other.sha256,
        shows=other.shows,
    )


def _random_real(
    store: Store, preset: Preset, real: list[SystemVideo], rng: np.random.Generator
) -> list[SystemVideo]:
    by_speaker: dict[str, list[dict[str, Any]]] = {}
    for row in kept_rows(store, "clips", preset.corpora.datasets):
        by_speaker.setdefault(f"{row['dataset']}/{row['speaker']}", []).append(row)
    found = []
    for video in real:
        speaker = video.clip_id.rsplit("/", 1)[0]
        others = [r for r in by_speaker.get(speaker, []) if r["clip_id"] != video.clip_id]
        if others:
            row = others[rng.integers(len(others))]
            other = real_video(row, preset.generation.max_frames)
            found.append(_seen_in("random_real", video, other))
    return found


def _frozen(store: Store, preset: Preset, video: SystemVideo) -> SystemVideo:
    from paha_core.media.encode import write_video

    crf = preset.corpora.clip.crf
    rel = f"systems/controls/frozen/{video.sha256}-{video.frames}-{crf}.mp4"
    if not store.exists(rel):
        first = load_frames(store, replace(video, frames=1))
        with store.writing(rel) as target:
            write_video(target, np.repeat(first, video.frames, axis=0), crf=crf)
    with store.reading(rel) as path:
        sha256 = sha256_file(path)
    return replace(video, system="frozen", path=rel, sha256=sha256, shows="")
