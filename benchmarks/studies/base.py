"""What the base does with people whom it has never seen.

    python benchmarks/studies/base.py --folder base --out figures.json

Twelve people from seed 100000 on, of whom the corpus holds none, and the four presenters speak two
clips of five seconds each, with sentences that are held out. From a portrait at rest and the voice
alone the pipeline makes a video of each clip, and its numbers stand beside those of the drawn one:

- lips: correlation of the mouth's openness with the drawn truth, and with the truth of another
  clip, which a video that only looks like talking would reach as well;
- identity: the share of clips whose faces are nearer to their own portrait than to those of fifty
  other people, drawn in the same room and clothes' light (HOG and colour of aligned faces);
- fingers: those that can be counted in a hand, five in a drawn one (`count_fingers`);
- sharpness of face and hands, flicker of the background;
- of `--photos`, what the command says of portraits that are not of its world.

`paha export --base --figures figures.json` puts them beside the weights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paha_core.config import MODES, Mode, PoseConfig
from paha_core.corpora.studio import IDENTITIES, presenter, presenters
from paha_core.corpora.studio.drawing import Painter
from paha_core.corpora.studio.figure import keypoints, pose_figure
from paha_core.corpora.studio.identities import Identity
from paha_core.corpora.studio.motion import make_motion
from paha_core.corpora.studio.programme import Programme, draw_frames, prepare, sound
from paha_core.corpora.studio.script import split_of
from paha_core.corpora.studio.speech import Phoneme
from paha_core.corpora.studio.visemes import mouth_track
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.portraits import unfamiliar
from paha_core.media.audio import write_wav
from paha_core.media.frames import FPS
from paha_core.metrics import lips, video_quality
from paha_core.metrics.bootstrap import bootstrap_mean
from paha_core.metrics.identity import HogColour, descriptors
from paha_core.pose.keypoints import Keypoints
from paha_core.pose.layout import FACE, HANDS, LEFT_HAND, RIGHT_HAND
from paha_core.pose.mediapipe import MediaPipe

UNSEEN = 100_000  # the first seed that no base has learned from
FRAMES = 5 * FPS
SHOWN = 4  # people of the animation
TIPS = (4, 8, 12, 16, 20)  # of a hand's 21 points, thumb to little finger
NEIGHBOURS = ((0, 1), (1, 2), (2, 3), (3, 4))


def count_fingers(frame: np.ndarray, hand: np.ndarray) -> int:
    """How many fingers of `hand` [21, 2] can be counted in uint8 RGB `frame` [H, W, 3].

    A finger counts where the middle of its last segment has the palm's colour and the points
    halfway to the neighbouring fingers' ends have not: fingers that a blur has merged, and those
    that are not there, are none.
    """
    palm = _colour(frame, hand[[0, 5, 17]].mean(axis=0), 2)
    ends = [0.5 * (hand[tip] + hand[tip - 1]) for tip in TIPS]
    skin = [_distance(_colour(frame, end, 1), palm) < 60 for end in ends]
    apart = [
        max(_distance(_colour(frame, (1 - s) * ends[a] + s * ends[b], 0), palm)
            for s in np.linspace(0.25, 0.75, 9)) > 60
        for a, b in NEIGHBOURS
    ]  # fmt: skip
    return sum(
        skin[i] and all(apart[n] for n in (i - 1, i) if 0 <= n < len(apart))
        for i in range(len(TIPS))
    )


def _colour(frame: np.ndarray, at: np.ndarray, reach: int) -> np.ndarray:
    """The mean colour of the pixels within `reach` of a point."""
    height, width = frame.shape[:2]
    x, y = (int(np.clip(at[i], reach, size - 1 - reach)) for i, size in ((0, width), (1, height)))
    return frame[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3).mean(axis=0)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.astype(float) - b))


def mean_fingers(frames: np.ndarray, found: Keypoints) -> float:
    """Mean over every fifth frame and both hands; a hand that is not found has none."""
    counts = [
        count_fingers(frames[t], found.points[t, hand]) if found.scores[t, hand].min() > 0 else 0
        for t in range(0, len(frames), 5)
        for hand in (LEFT_HAND, RIGHT_HAND)
    ]
    return float(np.mean(counts))


def portrait(identity: Identity, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A presenter at rest, uint8 [side, side, 3], and the 133 points in pixels."""
    rest = [Phoneme("_", 0.0, False)]
    figure = pose_figure(identity, make_motion(identity, rest, FPS, FPS, [0]), 0)
    points, _ = keypoints(figure, identity.look)
    return Painter(identity, side, side, 0).paint(figure), points * side


def face_of(identity: Identity, side: int) -> np.ndarray:
    """The descriptor [1, D] of a presenter's face."""
    picture, points = portrait(identity, side)
    return descriptors(HogColour(), picture[None], points[None], np.ones((1, 133)))


def in_the_place_of(identity: Identity, other: Identity) -> Identity:
    """`other` in the room of `identity`, as the camera shows it there."""
    same = {name: getattr(identity, name) for name in ("backdrop", "panel", "panel_side")}
    frame = {n: getattr(identity.look, n) for n in ("room", "accent", "zoom", "shift")}
    return replace(other, **same, look=replace(other.look, **frame))


def openness(programme: Programme) -> np.ndarray:
    """The drawn mouth at 25 fps, float [FRAMES]."""
    times = np.arange(FRAMES) / FPS
    return mouth_track(programme.script.phonemes, programme.script.duration, times)[:, 0]


def drawn_clip(programme: Programme) -> np.ndarray:
    """The first five seconds as they were drawn, uint8 [FRAMES, side, side, 3]."""
    fps, (x0, _, side) = programme.form.fps, programme.crop
    wanted = np.arange(FRAMES) * fps // FPS
    frames = list(islice(draw_frames(programme), int(wanted[-1]) + 1))
    return np.stack([frames[i][:, x0 : x0 + side] for i in wanted])


def measured(frames: np.ndarray, detector: MediaPipe) -> tuple[dict[str, float], Keypoints]:
    """What holds of a video by itself."""
    found = detector.detect(iter(frames))
    luma = video_quality.grey(frames)
    shown = (luma, found.points, found.scores)
    person = video_quality.person_cells(found.points, found.scores, found.size)
    mask = None if person is None else video_quality.background_mask([person], found.size)
    return {
        "sharpness_face": video_quality.sharpness(*shown, FACE) or 0.0,
        "sharpness_hands": video_quality.sharpness(*shown, HANDS) or 0.0,
        "flicker": np.nan if mask is None else video_quality.flicker(luma, mask) or 0.0,
        "fingers": mean_fingers(frames, found),
        "face_share": video_quality.face_share(found.scores),
    }, found


def make_clip(
    pipeline: PahaPipeline, programme: Programme, mode: Mode, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The generated video [FRAMES, side, side, 3] of a programme's voice, and the drawn one."""
    picture, _ = portrait(programme.identity, 512)
    with tempfile.TemporaryDirectory() as folder:
        voice = Path(folder) / "voice.wav"
        rate = programme.form.sample_rate
        write_wav(voice, sound(programme)[: FRAMES * rate // FPS, 0] / 32768, rate)
        made, _ = pipeline(picture, voice, Settings(mode=mode, seed=seed))
    return made.frames[0, :FRAMES], drawn_clip(programme)


def study(
    pipeline: PahaPipeline, names: list[str], clips: int, others: int, mode: Mode
) -> tuple[Any, np.ndarray]:
    """One row for each clip: what was measured of it, generated and drawn. And the first clips of
    some people side by side, drawn above generated, uint8 [FRAMES, 2 side, n side, 3]."""
    side, detector = pipeline.preset.codec.size, MediaPipe(PoseConfig())
    crowd = [presenter(name) for name in presenters(others, 2 * UNSEEN)]
    rows: list[dict[str, Any]] = []
    truths, mouths = [], []
    pairs: list[np.ndarray] = []
    for name in names:
        identity = presenter(name)
        own = face_of(identity, side)
        foreign = np.concatenate([face_of(in_the_place_of(identity, o), side) for o in crowd])
        indices = _held_out(identity, clips)
        for index in indices:
            programme = prepare(name, index, seconds=5.6, height=side, seed=1)
            frames, drawn = make_clip(pipeline, programme, mode, seed=index)
            if len(pairs) < SHOWN and index == indices[0]:
                pairs.append(np.concatenate([drawn, frames], axis=1))
            figures, found = measured(frames, detector)
            real, _ = measured(drawn, detector)
            faces = descriptors(HogColour(), frames, found.points, found.scores)
            mean = faces.mean(axis=0) if len(faces) else np.zeros(own.shape[1])
            mouth = lips.mouth_openness(found.points, found.scores)
            truths.append(openness(programme))
            mouths.append(np.zeros(FRAMES) if mouth is None else mouth)
            rows.append(
                figures
                | {f"real_{key}": value for key, value in real.items()}
                | {
                    "name": name,
                    "clip": index,
                    "own": float((own @ mean)[0] > (foreign @ mean).max()),
                }
            )
            print(rows[-1], flush=True)
    for i, row in enumerate(rows):
        others_truth = truths[(i + clips) % len(rows)]
        row["lips"] = lips.lip_correlation(mouths[i], truths[i]) or 0.0
        row["lips_exchanged"] = lips.lip_correlation(mouths[i], others_truth) or 0.0
    return rows, np.concatenate(pairs, axis=2)


def save_animation(path: Path, frames: np.ndarray) -> None:
    """Every second frame of uint8 RGB [T, H, W, 3] at 25 fps, at half its size, as a webp."""
    first, *rest = (Image.fromarray(frame).reduce(2) for frame in frames[::2])
    first.save(path, save_all=True, append_images=rest, duration=2000 // FPS, loop=0, quality=60)


def _held_out(identity: Identity, clips: int) -> list[int]:
    """Programmes whose sentences no training programme speaks, where the corpus holds some back."""
    some = (i for i in range(8 * clips + 2) if split_of(identity, i) == "test")
    return list(islice(some, clips)) or list(range(1, clips + 1))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with 95 % intervals over clips; sharpness as shares of the drawn videos'."""

    def mean(values: list[float]) -> list[float | None]:
        found = bootstrap_mean(values, rounds=2000, seed=0)
        return [found.value, found.low, found.high]

    plain = ("lips", "lips_exchanged", "own", "fingers", "real_fingers", "face_share", "flicker")
    shares = ("sharpness_face", "sharpness_hands")
    return {
        "clips": len(rows),
        **{name: mean([row[name] for row in rows]) for name in plain},
        **{
            f"{name}_share": mean([row[name] / max(row[f"real_{name}"], 1e-6) for row in rows])
            for name in shares
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="base", help="a saved pipeline")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--others", type=int, default=50)
    parser.add_argument("--mode", default="unguided", choices=MODES)
    parser.add_argument("--photos", nargs="*", default=[], help="portraits that are not drawn")
    parser.add_argument("--animation", type=Path, help="a webp to write: drawn above generated")
    parser.add_argument("--out", type=Path, default=None, help="a json to write")
    asked = parser.parse_args()

    pipeline = PahaPipeline.from_pretrained(asked.folder)
    english = [n for n in presenters(60 * asked.people, UNSEEN) if presenter(n).form == "pats"]
    unseen = [n for n in english if split_of(presenter(n), 0) == "test"][: asked.people]
    figures: dict[str, Any] = {}
    for title, names in (("unseen people", unseen), ("the four", list(IDENTITIES))):
        rows, pairs = study(pipeline, names, asked.clips, asked.others, asked.mode)
        if asked.animation and names is unseen:
            save_animation(asked.animation, pairs)
        figures[title] = summary(rows) | {"mode": asked.mode}
        print(title, json.dumps(figures[title], indent=1))
    figures["photos"] = {Path(photo).name: unfamiliar(pipeline, photo) for photo in asked.photos}
    print("photos", json.dumps(figures["photos"], indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
