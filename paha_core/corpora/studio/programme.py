"""One programme: script -> motion -> frames -> mp4, with its ground truth beside it."""

import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from paha_core.corpora.studio.drawing import Painter
from paha_core.corpora.studio.figure import KEYPOINTS, keypoints, pose_figure
from paha_core.corpora.studio.identities import Identity
from paha_core.corpora.studio.motion import Motion, make_motion
from paha_core.corpora.studio.people import presenter
from paha_core.corpora.studio.script import Script, write_script
from paha_core.corpora.studio.speech import SAMPLE_RATE
from paha_core.local_files import published
from paha_core.media.ffmpeg import file_url, run

SECONDS_A_FRAME = 2.0  # that drawing and encoding may take, however busy the machine is


@dataclass(frozen=True)
class FootageForm:
    """How a dataset's footage is encoded."""

    fps: int
    sample_rate: int
    channels: int


FOOTAGE_FORMS = {"pats": FootageForm(30, 44_100, 2), "cnas": FootageForm(25, 22_050, 1)}


@dataclass(frozen=True)
class Programme:
    """A programme ready to be drawn. `crop` is (x0, y0, side) of the square in pixels."""

    identity: Identity
    form: FootageForm
    width: int
    height: int
    crop: tuple[int, int, int]
    frames: int
    script: Script
    motion: Motion


def prepare(name: str, index: int, *, seconds: float, height: int, seed: int) -> Programme:
    """Script and motion of one programme; nothing is drawn yet."""
    identity = presenter(name)
    form = FOOTAGE_FORMS[identity.form]
    script = write_script(name, index, seconds, seed)
    frames = int(np.ceil(script.duration * form.fps))
    motion = make_motion(identity, script.phonemes, frames, form.fps, [seed, index, *name.encode()])
    width = frame_width(height)
    crop = (round(identity.crop_left * width), 0, height)
    return Programme(identity, form, width, height, crop, frames, script, motion)


def frame_width(height: int) -> int:
    """The even width of a 16:9 frame."""
    return 2 * round(height * 8 / 9)


def draw_frames(programme: Programme) -> Iterator[np.ndarray]:
    """The programme's frames in order, uint8 [height, width, 3] RGB."""
    painter = Painter(programme.identity, programme.width, programme.height, programme.crop[0])
    for frame in range(programme.frames):
        yield painter.paint(pose_figure(programme.identity, programme.motion, frame))


def sound(programme: Programme) -> np.ndarray:
    """The sound track as long as the picture: int16 [N, channels] at the form's sample rate."""
    form = programme.form
    samples = programme.script.samples
    if form.sample_rate != SAMPLE_RATE:
        up = form.sample_rate // SAMPLE_RATE
        samples = np.clip(np.rint(resample_poly(samples.astype(np.float64), up, 1)), -32768, 32767)
    length = round(programme.frames / form.fps * form.sample_rate)
    padded = np.zeros(length, dtype=np.int16)
    padded[: min(length, len(samples))] = samples[:length]
    return np.repeat(padded[:, None], form.channels, axis=1)


def ground_truth(programme: Programme) -> dict[str, np.ndarray]:
    """Plain arrays (see the package docstring); keypoints in pixels of the whole frame."""
    points = np.zeros((programme.frames, KEYPOINTS, 2), dtype=np.float32)
    visible = np.zeros((programme.frames, KEYPOINTS), dtype=bool)
    x0, y0, side = programme.crop
    for frame in range(programme.frames):
        figure = pose_figure(programme.identity, programme.motion, frame)
        shares, seen = keypoints(figure, programme.identity.look)
        points[frame] = np.where(seen[:, None], shares * side + (x0, y0), 0.0)
        visible[frame] = seen
    mouth, spoken = programme.motion.mouth, programme.script.phonemes
    return {
        # a point's pixel holds it: the first pixel spans 0..1, its centre is 0.5
        "fps": np.array(programme.form.fps, dtype=np.float64),
        "size": np.array([programme.width, programme.height], dtype=np.int32),
        "crop": np.array(programme.crop, dtype=np.int32),
        "keypoints": points,
        "visible": visible,
        "mouth_openness": mouth[:, 0],
        "mouth_width": mouth[:, 1],
        "mouth_rounding": mouth[:, 2],
        "beats": programme.motion.beats,
        "phoneme_starts": np.array([p.start for p in spoken], dtype=np.float32),
        "phoneme_labels": np.array([p.label for p in spoken], dtype="U8"),
        "phoneme_stressed": np.array([p.stressed for p in spoken], dtype=bool),
        "interval_starts": np.array([i.start for i in programme.script.intervals]),
        "interval_ends": np.array([i.end for i in programme.script.intervals]),
    }


def write_truth(path: Path, truth: dict[str, np.ndarray]) -> None:
    """Write the npz, whole or not at all."""
    with published(path) as temporary:
        np.savez_compressed(temporary, **truth)


def write_video(path: Path, programme: Programme) -> None:
    """Draw and encode the mp4, whole or not at all.

    One encoder thread, fixed settings and no dates: the same programme gives the same bytes.
    """
    with published(path) as temporary, tempfile.TemporaryDirectory() as folder:
        track = Path(folder) / "sound.wav"
        _write_wav(track, sound(programme), programme.form.sample_rate)
        run(
            _encoder(programme, track, temporary),
            timeout=60 + SECONDS_A_FRAME * programme.frames,
            stdin=(image.tobytes() for image in draw_frames(programme)),
        )


def _write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(samples.shape[1])
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(samples.tobytes())


def _encoder(programme: Programme, track: Path, out: Path) -> list[str]:
    """ffmpeg's arguments: raw RGB frames on standard input and a wav in, H.264 and AAC out."""
    size, fps = f"{programme.width}x{programme.height}", str(programme.form.fps)
    picture = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-r", fps, "-s", size, "-i", "pipe:0"]
    # the colour matrix is stated: readers guess it from the size otherwise
    colours = ["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"]
    colours += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    video = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-threads", "1"]
    audio = ["-c:a", "aac", "-b:a", "128k", "-map_metadata", "-1"]
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
    inputs = [*picture, "-i", file_url(track), "-map", "0:v", "-map", "1:a"]
    return [*inputs, *colours, *video, *audio, *exact, "-f", "mp4", file_url(out)]
