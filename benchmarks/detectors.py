"""What keypoints and face boxes cost together, against the slower detector alone.

    python benchmarks/detectors.py VIDEO [--seconds 4]

The embedded detectors (MediaPipe) on one clip of 512 x 512 pixels from the middle of the video, in
CPU seconds of this process, ways taking turns: keypoints alone, face boxes alone, and the two
stages as they run, which share one decoding. Target: together at most 1.3 times the slower.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from paha_core.config import PoseConfig
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.video import HELD_BYTES
from paha_core.pose import open_detector
from paha_core.pose.face import detect_face_boxes
from paha_core.pose.frames import VideoFrames
from paha_core.pose.stage import (
    FaceTask,
    KeypointTask,
    face_detection_version,
    find_face_boxes,
    find_keypoints,
)
from paha_core.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    config = PoseConfig()
    with tempfile.TemporaryDirectory() as name:
        store, clip = Store(name), Path(name, "clip.mp4")
        square = "crop='min(iw,ih)':'min(iw,ih)',scale=512:512"
        cut = ["-t", f"{given.seconds:g}", "-vf", square, "-r", "25", "-an", "-crf", "12"]
        run(["-i", file_url(given.video), *cut, file_url(clip)])
        detector = open_detector(config)

        def together() -> None:
            version = face_detection_version()
            keypoints = KeypointTask(
                store, clip.name, "", "k.parquet", config, 1, face_detection=version
            )
            row = find_keypoints(keypoints)
            people = (row["path"], row["sha256"], True)
            find_face_boxes(FaceTask(store, clip.name, "", "f.parquet", config, "", *people))

        ways: dict[str, Callable[[], object]] = {
            "keypoints alone": lambda: detector.detect(VideoFrames(clip)),
            "face boxes alone": lambda: detect_face_boxes(VideoFrames(clip, HELD_BYTES), config),
            "both stages": together,
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(given.rounds + 1):
            for way, work in ways.items():
                started = time.process_time()
                work()
                if turn:  # the first round warms up
                    taken[way].append(time.process_time() - started)
        medians = {way: statistics.median(seconds) for way, seconds in taken.items()}
        slower = max(medians["keypoints alone"], medians["face boxes alone"])
        for way, seconds in medians.items():
            print(f"{way:17} {seconds:6.2f} CPU s, {seconds / slower:.2f} of the slower detector")


if __name__ == "__main__":
    main()
