"""Measures the accuracy of a detector's keypoints: pixels and PCK, part by part.

    python benchmarks/pose_accuracy.py                        the studio's drawn presenters
    python benchmarks/pose_accuracy.py --wholebody FOLDER     and COCO-WholeBody photos

FOLDER holds photos and one json of COCO-WholeBody annotations. Each labelled person is cut out of
the photo with a quarter more on each side, as a clip of one frame. Persons below `--min-side`
pixels are left out.

PCK@a: the share of true points with a found point within `a` times the longer side of the box of
that part's true points; a point that was not found is wrong. Pixels: median and mean distance of
the points that were found; of the studio at 512x512, of photos as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from paha_core.config import PoseConfig
from paha_core.corpora.studio import programme
from paha_core.corpora.studio.identities import IDENTITIES
from paha_core.pose import layout, open_detector

PARTS = {
    "body": layout.UPPER_BODY,
    "face": layout.FACE,
    "mouth": layout.MOUTH,
    "left hand": layout.LEFT_HAND,
    "right hand": layout.RIGHT_HAND,
}
ALPHAS = (0.05, 0.1, 0.2)
# A clip, its true points [T, 133, 2] and which of them are known [T, 133].
Scene = tuple[np.ndarray, np.ndarray, np.ndarray]


def studio_scenes(seconds: float, height: int) -> Iterator[Scene]:
    """The square clip of each presenter."""
    for name in IDENTITIES:
        drawn = programme.prepare(name, 0, seconds=seconds, height=height, seed=11)
        left, top, side = drawn.crop
        window = (slice(top, top + side), slice(left, left + side))
        count = round(seconds * drawn.form.fps)
        pictures = zip(programme.draw_frames(drawn), range(count))
        frames = np.stack([frame[window] for frame, _ in pictures])
        truth = programme.ground_truth(drawn)
        corner = np.array([left, top], np.float32)
        points: np.ndarray = truth["keypoints"][: len(frames)] - corner
        inside = ((points >= 0) & (points < side)).all(axis=-1)
        yield frames, points, truth["visible"][: len(frames)] & inside


def photo_scenes(folder: Path, min_side: float) -> Iterator[Scene]:
    """Each labelled person of the photos."""
    (path,) = folder.glob("*.json")
    labels = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in labels["images"]}
    for person in labels["annotations"]:
        x, y, width, height = person["bbox"]
        if person["iscrowd"] or min(width, height) < min_side:
            continue
        picture = cv2.imread(str(folder / names[person["image_id"]]))[..., ::-1]
        x0, y0 = max(0, round(x - width / 4)), max(0, round(y - height / 4))
        x1, y1 = round(x + width * 1.25), round(y + height * 1.25)
        keys = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
        flat = np.concatenate([np.reshape(person[key], (-1, 3)) for key in keys])
        points = (flat[:, :2] - (x0, y0)).astype(np.float32)
        frame = np.ascontiguousarray(picture[y0:y1, x0:x1])
        yield frame[None], points[None], flat[None, :, 2] > 0


def measure(scenes: Iterator[Scene], config: PoseConfig) -> list[tuple[str, ...]]:
    """A row for each part: points, share found, pixels, PCK."""
    detector = open_detector(config)
    distances: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    shares: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for frames, truth, known in scenes:
        found = detector.detect(frames)
        for part, points in PARTS.items():
            for t in range(len(frames)):
                there = known[t, points]
                if there.sum() < 2:
                    continue
                true = truth[t, points][there]
                longer = float(np.ptp(true, axis=0).max())
                away = np.linalg.norm(found.points[t, points][there] - true, axis=1)
                away[found.scores[t, points][there] == 0] = np.inf
                distances[part].append(away)
                shares[part].append(away / longer)
    rows = []
    for part in PARTS:
        if not distances[part]:
            continue
        away, share = np.concatenate(distances[part]), np.concatenate(shares[part])
        got = np.isfinite(away)
        pixels = (f"{np.median(away[got]):.1f}", f"{away[got].mean():.1f}") if got.any() else "--"
        pck = (f"{(share <= alpha).mean():.1%}" for alpha in ALPHAS)
        rows.append((part, str(len(away)), f"{got.mean():.1%}", *pixels, *pck))
    return rows


def show(title: str, rows: list[tuple[str, ...]]) -> None:
    heads = ("part", "points", "found", "median px", "mean px", *(f"PCK@{a}" for a in ALPHAS))
    print(f"\n{title}\n")
    for row in (heads, ("---",) * len(heads), *rows):
        print("| " + " | ".join(row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wholebody", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each presenter")
    parser.add_argument("--min-side", type=float, default=70.0)
    parser.add_argument("--detector", choices=("mediapipe", "dwpose"), default="mediapipe")
    parser.add_argument("--dwpose-pose")
    parser.add_argument("--dwpose-person")
    args = parser.parse_args()
    config = PoseConfig(
        detector=args.detector, dwpose_pose=args.dwpose_pose, dwpose_person=args.dwpose_person
    )
    rows = measure(studio_scenes(args.seconds, 512), config)
    show(f"{args.detector}, studio, {len(IDENTITIES)} presenters at 512x512", rows)
    if args.wholebody:
        rows = measure(photo_scenes(args.wholebody, args.min_side), config)
        show(f"{args.detector}, COCO-WholeBody photos", rows)


if __name__ == "__main__":
    main()
