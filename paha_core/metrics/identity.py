"""Identity similarity: does the face stay the reference's?

The cosine of face descriptors, averaged over frames. `ArcFace` is the field's descriptor, from a
local ONNX file; `HogColour` is a small stand-in of gradients and colours under its own name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paha_core.metrics.protocol import PROTOCOL
from paha_core.pose.layout import FACE
from paha_core.weight_formats import check_weights

# ArcFace's template: eyes, nose and mouth corners in a 112 x 112 picture (insightface).
_TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655),
     (70.7299, 92.2041)], np.float32,
)  # fmt: skip
_EYES, _NOSE, _CORNERS = (slice(36, 42), slice(42, 48)), 30, (48, 54)


class FaceDescriptor(Protocol):
    """A name, the weights' hash, and a vector for each picture of a face."""

    name: str
    sha256: str

    def describe(self, picture: np.ndarray, face: np.ndarray) -> np.ndarray | None:
        """uint8 RGB `[H, W, 3]` and 68 points `[68, 2]` in its pixels to a unit vector, or None."""
        ...


class HogColour:
    """Histograms of oriented gradients of the 64 x 64 face, and its colours, in equal parts."""

    name, sha256 = "hog-colour (not ArcFace)", ""

    def describe(self, picture: np.ndarray, face: np.ndarray) -> np.ndarray | None:
        import cv2

        low, high = face.min(0), face.max(0)
        # The 68 points end at the brows, but the forehead and hair identify a person too.
        low = low - (high - low) * (0.15, 0.35)
        (x0, y0), (x1, y1) = np.maximum(low, 0).astype(int), np.ceil(high).astype(int)
        patch = picture[y0:y1, x0:x1]
        if min(patch.shape[:2]) < 8:
            return None
        patch = cv2.resize(patch, (64, 64), interpolation=cv2.INTER_AREA)
        hog = cv2.HOGDescriptor((64, 64), (16, 16), (16, 16), (8, 8), 9)
        shape = np.asarray(hog.compute(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY))).reshape(-1)
        lab = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).reshape(8, 8, 8, 8, 3).mean((1, 3))
        colour = (lab - 128).reshape(-1)
        return _unit(np.concatenate([_unit(shape - shape.mean()), _unit(colour)]))


class ArcFace:
    """An ArcFace network in ONNX: input `[1, 3, 112, 112]` RGB in -1..1, output `[1, 512]`."""

    name = "ArcFace"

    def __init__(self, path: str | Path) -> None:
        """Raises `FileNotFoundError`, or `ValueError` for a file of another kind."""
        import onnxruntime

        from paha_core.store import sha256_file

        if not Path(path).is_file():
            raise FileNotFoundError(f"no ArcFace weights at {path}")
        check_weights(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has no common public base for its errors
            raise ValueError(f"{path} is not an ONNX network: {error}") from error
        shape = self.session.get_inputs()[0].shape
        made = self.session.get_outputs()[0].shape
        if list(shape[1:]) != [3, 112, 112] or list(made[1:]) != [512]:
            raise ValueError(
                f"{path} takes {shape} and makes {made}, not [1, 3, 112, 112] and [1, 512]: "
                "it is not an ArcFace network"
            )
        self.sha256 = sha256_file(path)

    def describe(self, picture: np.ndarray, face: np.ndarray) -> np.ndarray | None:
        aligned = align(picture, face)
        if aligned is None:
            return None
        given = (aligned.astype(np.float32).transpose(2, 0, 1)[None] - 127.5) / 127.5
        [found] = self.session.run(None, {self.session.get_inputs()[0].name: given})[:1]
        return _unit(np.asarray(found, np.float64).reshape(-1))


def align(picture: np.ndarray, face: np.ndarray) -> np.ndarray | None:
    """The face turned and scaled onto ArcFace's template: uint8 `[112, 112, 3]`."""
    import cv2

    marks = [face[eye].mean(0) for eye in _EYES] + [face[i] for i in (_NOSE, *_CORNERS)]
    matrix, _ = cv2.estimateAffinePartial2D(
        np.array(marks, np.float32), _TEMPLATE, method=cv2.LMEDS
    )
    return None if matrix is None else cv2.warpAffine(picture, matrix, (112, 112))


def descriptors(
    space: FaceDescriptor, frames: np.ndarray, points: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Unit vectors `[n, D]` of the frames that show a face.

    `frames` uint8 RGB `[T, H, W, 3]`, `points` `[T, 133, 2]` in their pixels, `scores` `[T, 133]`.
    """
    found = []
    for picture, at, sure in zip(frames, points[:, FACE], scores[:, FACE], strict=True):
        if (sure >= PROTOCOL.min_score).mean() < 0.5:
            continue
        vector = space.describe(picture, at)
        if vector is not None:
            found.append(vector)
    return np.array(found)


def identity_similarity(video: np.ndarray, reference: np.ndarray) -> float | None:
    """Mean cosine of the video's descriptors `[n, D]` to the reference's mean `[m, D]`, -1 to 1.

    None when either shows no face.
    """
    if not len(video) or not len(reference):
        return None
    return float((video @ _unit(reference.mean(0))).mean())


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))
