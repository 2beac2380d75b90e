"""Whole-body keypoints and face boxes of a clip, in one 133-point layout whatever the detector.

    from paha_core.pose import open_detector
    keypoints = open_detector(PoseConfig()).detect(frames)  # frames: uint8 RGB [T, H, W, 3]

Importing this package loads no detector; `open_detector` does.
"""

from paha_core.pose.detect import Detector, open_detector
from paha_core.pose.keypoints import Keypoints, Quality

__all__ = ["Detector", "Keypoints", "Quality", "open_detector"]
