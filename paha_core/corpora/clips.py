"""From a span of a source video to a clip: exact 25 fps, square, H.264, its audio beside it as wav.

One ffmpeg call decodes the span once and writes both. Time 0 of both files is the same instant of
the source; both last `frames / 25` seconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import cv2
import ffmpeg
import numpy as np
import pyarrow as pa
import soundfile
from numpy.typing import NDArray

from paha_core.config import ClipConfig
from paha_core.corpora.content_hash import content_hash
from paha_core.corpora.filters import (
    NO_CHECK,
    PROBES,
    ClipData,
    Filter,
    SyncCheck,
    apply_filters,
)
from paha_core.corpora.fingerprints import clip_fingerprint, common_json
from paha_core.corpora.regions import Crop
from paha_core.corpora.source_manifest import Source
from paha_core.corpora.speaking import VERSION as SPEAKING
from paha_core.corpora.speaking import largest_face_crop, speaking_crop
from paha_core.engine.manifest_stage import (
    ClipWork,
    ManifestRow,
    Rejection,
    TransientError,
    read_manifest,
)
from paha_core.media import FPS
from paha_core.media.audio import IN_TIME, to_mono, write_wav
from paha_core.media.encode import x264_options
from paha_core.media.ffmpeg import Killed, MediaError, file_url, run, safe_input
from paha_core.media.streams import stream_indices
from paha_core.media.video import (
    HELD_BYTES,
    Frames,
    conversion_at,
    frame_time,
    iter_frames,
    seek_point,
)
from paha_core.store import Store, sha256_file, sha256_json

STAGE = "clips"
CODE_VERSION = "clips-6"
LEAD = 2.0  # seconds read before a span: containers store sound that much apart from its picture
LATE = 2 / FPS  # seconds by which a source's first picture may come after its sound

CLIP_SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # file name
        ("source_id", pa.string()),  # its name in ids
        ("interval", pa.string()),
        ("start", pa.float64()),  # seconds in the source, as listed
        ("end", pa.float64()),
        ("interval_seconds", pa.float64()),  # in the corpus' list; more: the clip is its start
        ("frames", pa.int32()),
        ("fps", pa.float64()),
        ("size", pa.int32()),  # side in pixels
        ("audio_path", pa.string()),
        ("audio_sha256", pa.string()),
        ("audio_rate", pa.int32()),  # Hz, the source's own
        ("audio_seconds", pa.float64()),
        ("source_fps", pa.float64()),
        ("cut_start", pa.float64()),  # seconds in the source of frame 0 and sample 0
        ("sound_shift", pa.float64()),  # seconds of the source that the sound was moved ahead
        ("crop", pa.string()),  # json: left, top, side in pixels of the source
        ("people", pa.int32()),  # in the source's picture, where the one who speaks was chosen
        ("content_hash", pa.string()),  # of pictures and sound, for near duplicates
        ("duplicate_of", pa.string()),  # clip id
        ("in_train", pa.string()),  # of a test clip: the training clip or source it shares
        ("scores", pa.string()),  # json: filter -> score
        ("sync_fits", pa.string()),  # json: the estimate's fit of each shift of the sound
        ("licence", pa.string()),  # of the footage
    ]
)


class ClipRow(ManifestRow):
    """A row of the clips' manifest: the columns of every manifest, then `CLIP_SCHEMA`."""

    source: str
    source_id: str
    interval: str
    start: float
    end: float
    interval_seconds: float
    frames: int
    fps: float
    size: int
    audio_path: str
    audio_sha256: str
    audio_rate: int
    audio_seconds: float
    source_fps: float
    cut_start: float
    sound_shift: float
    crop: str
    people: int | None
    content_hash: str
    duplicate_of: str
    in_train: str
    scores: str
    sync_fits: str | None
    licence: str


def clip_rows(store: Store, dataset: str, columns: Collection[str] = ()) -> list[ClipRow]:
    """All rows of the clips' manifest of `dataset`, with these columns or all; in a rejected row
    what it lacks is null."""
    return cast(list[ClipRow], read_manifest(store, STAGE, dataset, columns))


@dataclass(slots=True)  # a frozen one takes three times as long to make
class Span:
    """One clip to cut: which frames of which source, and what it is called."""

    dataset: str
    speaker: str
    interval: str
    source_id: str
    source: Source
    start: float  # seconds
    frames: int  # at 25 fps
    crop: Crop
    follow_face: bool = False  # move `crop` to the largest face of the span
    speaking: bool = False  # move `crop` to the person who speaks
    licence: str = ""
    interval_seconds: float | None = None  # where it differs from the clip's

    @property
    def clip_id(self) -> str:
        return f"{self.dataset}/{self.speaker}/{self.interval}"

    @property
    def seconds(self) -> float:
        return self.frames / FPS


@dataclass(slots=True)
class ClipTask:
    """What a worker needs to make one clip."""

    store: Store
    span: Span
    config: ClipConfig
    filters: tuple[Filter, ...]
    sync: SyncCheck = NO_CHECK


def clip_job(
    store: Store,
    span: Span,
    config: ClipConfig,
    filters: Sequence[Filter],
    sync: SyncCheck = NO_CHECK,
) -> ClipWork:
    """The job that cuts `span`; done again when source, span, settings or code change."""
    filters = tuple(filters)
    speaking = SPEAKING if span.speaking else None
    common = common_json(
        CODE_VERSION, config.size, config.crf, filters, sync, span.follow_face, speaking
    )
    return ClipWork(
        clip_id=span.clip_id,
        fingerprint=clip_fingerprint(
            span.source.sha256, span.start, span.frames, span.crop, common
        ),
        payload=ClipTask(store, span, config, filters, sync),
        columns=_columns(span),
    )


def rejected_job(clip_id: str, reason: Rejection, **columns: Any) -> ClipWork:
    """A row for an input that no clip comes from; computed again when its reason changes."""
    return ClipWork(clip_id, sha256_json([str(reason), CODE_VERSION]), reason, columns)


def cut_clip(task: ClipTask) -> dict[str, Any]:
    """Cut one clip, filter it, publish it; returns its row. `Rejection` leaves no file behind."""
    store, span = task.store, task.span
    end = span.start + span.seconds
    if end > span.source.info.duration + 1 / FPS:
        last = span.source.info.duration
        raise Rejection(f"ends at {end:.2f} s, but its source at {last:.2f} s")
    stem = f"clips/{span.clip_id}"
    with store.writing(f"{stem}.mp4") as video, store.writing(f"{stem}.wav") as audio:
        try:
            with span.source.opened(task.config.cache_bytes) as source:
                if span.follow_face:
                    info = span.source.info
                    crop = largest_face_crop(source, span.start, span.seconds, span.crop, info)
                    span = replace(span, crop=crop)
                start = _cut(source, span, task.config, video, audio)
                clip, shift, people = _decode(task, span, video, audio), 0.0, None
                if span.speaking:
                    crop, people = speaking_crop(source, start, span.frames, clip, span.crop)
                    if crop != span.crop:
                        span = replace(span, crop=crop)
                        start = _cut(source, span, task.config, video, audio)
                        clip = _decode(task, span, video, audio)
                if task.sync.correct and (late := _offset(clip, task.sync.correct)):
                    shift = late / FPS
                    start = _cut(source, span, task.config, video, audio, shift)
                    clip = _decode(task, span, video, audio)
        except Killed as error:
            raise TransientError(str(error)) from None
        except MediaError as error:
            raise Rejection(str(error)) from None
        scores, reason = apply_filters(task.filters, clip)
        found = {"scores": json.dumps(scores, sort_keys=True), "sync_fits": _sync_fits(clip)}
        if reason:
            raise Rejection(reason, **found)
        sha256, audio_sha256 = sha256_file(video), sha256_file(audio)
    return {
        "path": f"{stem}.mp4",
        "sha256": sha256,
        "crop": _crop_json(span.crop),
        "frames": span.frames,
        "cut_start": start,
        "sound_shift": shift,
        "people": people,
        "fps": float(FPS),
        "size": task.config.size,
        "audio_path": f"{stem}.wav",
        "audio_sha256": audio_sha256,
        "audio_rate": span.source.info.audio_rate,
        "audio_seconds": len(clip.wave) / clip.rate,
        "content_hash": content_hash(clip),
        **found,
    }


def _columns(span: Span) -> dict[str, Any]:
    return {
        "speaker": span.speaker,
        "source": span.source.path.name,
        "source_id": span.source_id,
        "interval": span.interval,
        "start": span.start,
        "end": span.start + span.seconds,
        "interval_seconds": span.interval_seconds or span.seconds,
        "source_fps": span.source.info.fps,
        "licence": span.licence,
    } | ({} if span.follow_face or span.speaking else {"crop": _crop_json(span.crop)})


@lru_cache(maxsize=4096)
def _crop_json(crop: Crop) -> str:
    return json.dumps([crop.left, crop.top, crop.side])


def _sync_fits(clip: ClipData) -> str | None:
    """The estimate's fits, where a filter or the correction has asked for them."""
    sync = clip.__dict__.get("estimated_sync")
    return None if sync is None else json.dumps([round(fit, 3) for fit in sync.fits])


def _offset(clip: ClipData, largest: int) -> int:
    """Frames by which the clip's sound is late, where that is sure and no more than `largest`."""
    sync = clip.sync
    if sync is None or not sync.is_sure or abs(sync.offset) > largest:
        return 0
    return sync.offset


def _cut(
    path: Path, span: Span, config: ClipConfig, video: Path, audio: Path, shift: float = 0.0
) -> float:
    """Decode the span once, write the picture to `video` and the sound to `audio`; returns where
    both begin: at the own time of a frame, so that no frame is off its sound by a constant.

    `shift`: seconds by which the source's sound is late; it is cut that much later.
    """
    seek, first = seek_point(path, max(0.0, span.start - LEAD))
    if first > span.start + LATE:
        raise Rejection(f"its first picture that can be decoded is at {first:.2f} s of the source")
    start = frame_time(path, seek, span.start)
    # Time 0 of the streams is `seek`; all frames from the keyframe on are decoded, since the one
    # shown at the span's start may be much older.
    at = {"ss": f"{seek:.6f}", "noaccurate_seek": None} if seek else {}
    # Recordings of calls change their size: filters that began anew would forget the time.
    source = safe_input(path, threads=1, reinit_filter=0, **at)
    video_index, audio_index = stream_indices(path)
    shown = conversion_at(path, max(0.0, span.start - LEAD)).apply(source[str(video_index)])
    picture = _picture(shown, span, config.size, start - seek)
    sound = _sound(source[str(audio_index)], span, start - seek + shift)
    outputs = ffmpeg.merge_outputs(
        ffmpeg.output(
            picture,
            file_url(video),
            **x264_options(config.crf),
            **{"frames:v": span.frames, "pix_fmt": "yuv420p", "movflags": "+faststart", "f": "mp4"},
            g=12,  # training reads from anywhere in a clip
        ),
        ffmpeg.output(
            sound,
            file_url(audio),
            acodec="pcm_s16le",
            ac=min(2, span.source.info.audio_channels),
            fflags="+bitexact",
            map_metadata=-1,
            f="wav",
        ),
    )
    run(outputs, timeout=config.timeout_seconds)
    return start


def _picture(stream: Any, span: Span, size: int, lead: float) -> Any:
    crop = span.crop
    # The grid of 25 fps starts with the clip, whatever the source's frames are. Rounded, because
    # setpts truncates fractions of a tick, which would break ties.
    stream = stream.filter("setpts", f"PTS-round({lead:.9f}/TB)")
    stream = stream.filter("fps", FPS, start_time=0, round="near")
    stream = stream.filter("tpad", stop=1, stop_mode="clone")  # a last frame lost to rounding
    stream = stream.filter(
        "scale", span.source.info.width, span.source.info.height
    )  # most as it is
    stream = stream.filter("crop", crop.side, crop.side, crop.left, crop.top)
    if crop.side != size:
        stream = stream.filter("scale", size, size, flags="area" if size < crop.side else "bicubic")
    return stream


def _sound(stream: Any, span: Span, lead: float) -> Any:
    rate = span.source.info.audio_rate
    first = round(lead * rate)
    # Gaps become silence first, so that cutting by samples is cutting by time.
    stream = stream.filter("aresample", rate, **IN_TIME)
    if first < 0:  # corrected sound may begin before its source does
        stream, first = stream.filter("adelay", delays=f"{-first}S", all=1), 0
    return stream.filter(
        "atrim", start_sample=first, end_sample=first + round(span.seconds * rate)
    ).filter("asetpts", "PTS-STARTPTS")


def _decode(task: ClipTask, span: Span, video: Path, audio: Path) -> ClipData:
    """Decode what was cut, once: checks both lengths and gathers what the filters read."""
    chosen = set(np.linspace(0, span.frames - 1, min(PROBES, span.frames)).round().astype(int))
    probes, thumbnails = [], []
    held: list[Frames] = []
    holds = span.frames * 3 * task.config.size**2 <= HELD_BYTES
    for number, frame in enumerate(iter_frames(video)):
        if holds:
            held.append(frame)
        if number in chosen:
            probes.append(frame)
        small = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA)
        thumbnails.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    if len(thumbnails) != span.frames:
        raise Rejection(f"the source holds {len(thumbnails)} of the clip's {span.frames} frames")
    wave = _exact_audio(span, audio)
    return ClipData(
        probes,
        np.asarray(thumbnails, dtype=np.uint8),
        to_mono(wave),
        span.source.info.audio_rate,
        lambda: held if holds else iter_frames(video),
        span.source.info.fps,
        span.crop.side,
        task.sync.weights,
    )


def _exact_audio(span: Span, audio: Path) -> NDArray[np.float32]:
    """The clip's audio [N, channels]; a rounding's loss is padded, more is a `Rejection`."""
    rate = span.source.info.audio_rate
    wave, read_rate = soundfile.read(str(audio), dtype="float32", always_2d=True)
    if read_rate != rate:
        raise Rejection(f"the audio changes its rate from {rate} to {read_rate} Hz")
    missing = round(span.seconds * rate) - len(wave)
    if missing > rate / FPS:
        raise Rejection(f"the audio ends {missing / rate:.2f} s before the picture")
    if missing > 0:
        wave = np.pad(wave, ((0, missing), (0, 0)))
        write_wav(audio, wave, rate)
    return np.asarray(wave, dtype=np.float32)
