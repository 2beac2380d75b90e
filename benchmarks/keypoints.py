"""From an mp4 to keypoints in a Parquet file, against the networks alone and against rtmlib's loop.

    python benchmarks/keypoints.py
    python benchmarks/keypoints.py --person yolox_l.onnx --pose dwpose_l.onnx --video talk.mp4

- end to end: decode, search, crop, network, points, Parquet (`paha pose` without face boxes);
- bare networks: the same calls of the same networks on inputs that lie in memory: the limit;
- rtmlib: its `Wholebody` over `cv2.VideoCapture`, with the same files, keeping nothing.

Without weights it makes networks of the same inputs and outputs, and no higher cost
(`support/networks.py`). Medians of rounds that take turns. Targets: 0.9 of the bare networks and
1.5 times rtmlib.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rtmlib import Wholebody
from support import networks

from paha_core.config import PoseConfig
from paha_core.corpora.studio import programme
from paha_core.media.encode import write_video
from paha_core.media.video import read_frames
from paha_core.pose import open_detector
from paha_core.pose.dwpose import DETECT_EVERY, DWPose
from paha_core.pose.frames import VideoFrames

FRAMES, SIDE = 51, 512


def studio_clip(path: Path) -> None:
    drawn = programme.prepare("lin", 0, seconds=FRAMES / 25, height=SIDE, seed=0)
    left, top, side = drawn.crop
    window = (slice(top, top + side), slice(left, left + side))
    pictures = zip(programme.draw_frames(drawn), range(FRAMES))
    write_video(path, np.stack([frame[window] for frame, _ in pictures]), crf=12)


def bare(detector: DWPose, frames: np.ndarray) -> Callable[[], None]:
    """The networks' calls for these frames, and nothing else."""
    crops = [batch.pixels for batch in detector.crops(iter(frames))]
    yolox = detector._person._yolox
    searched = yolox.preprocess(frames[0][..., ::-1])[0]
    searches = 1 + -(-(len(frames) - 1) // DETECT_EVERY)

    def run() -> None:
        for _ in range(searches):
            yolox.inference(searched)
        for pixels in crops:
            detector.run(pixels)

    return run


def plain_rtmlib(person: str, pose: str, video: Path) -> Callable[[], None]:
    with contextlib.redirect_stdout(io.StringIO()):
        wholebody = Wholebody(det=person, pose=pose, pose_input_size=(288, 384))

    def run() -> None:
        capture = cv2.VideoCapture(str(video))
        while True:
            good, frame = capture.read()
            if not good:
                break
            wholebody(frame)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--person", default="")
    parser.add_argument("--pose", default="")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = args.video or folder / "clip.mp4"
        if args.video is None:
            studio_clip(video)
        person, pose = args.person, args.pose
        if not (person and pose):
            person, pose = str(folder / "person.onnx"), str(folder / "pose.onnx")
            costs = (
                networks.person_network(Path(person), (80, 40, 560, 640)),
                networks.pose_network(Path(pose)),
            )
            words = (f"{cost / 1e9:.2f} billion multiplications" for cost in costs)
            print("generated networks: person {}, pose {}".format(*words))
        detector = open_detector(
            PoseConfig(detector="dwpose", dwpose_person=person, dwpose_pose=pose, batch=args.batch)
        )
        assert isinstance(detector, DWPose)
        frames = read_frames(video)
        print(f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}")
        works = {
            "bare networks": bare(detector, frames),
            "end to end": lambda: detector.detect(VideoFrames(video)).save(folder / "k.parquet"),
            "rtmlib Wholebody": plain_rtmlib(person, pose, video),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(args.rounds + 1):
            for what, work in works.items():
                started = time.perf_counter()
                work()
                if turn:  # the first round warms up
                    times[what].append(time.perf_counter() - started)
        rates = {what: len(frames) / statistics.median(took) for what, took in times.items()}
        for what, rate in rates.items():
            share = rates["end to end"] / rate
            print(f"{what:17} {rate:7.2f} frames/s   end to end is {share:5.2f} x of it")


if __name__ == "__main__":
    main()
