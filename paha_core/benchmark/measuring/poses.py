"""The pose space: the trained autoencoder, and the real training poses in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from paha_core.config import Preset
from paha_core.metrics import pose_features as pf
from paha_core.store import Store

if TYPE_CHECKING:
    from paha_core.pose.keypoints import Keypoints

MISSING = "the pose autoencoder is not trained on these poses: materialise `pose_autoencoder`"


@dataclass(frozen=True)
class PoseSpace:
    """`name` and `sha256` go into every row; `reference`: real training features `[N, 32]` by
    dataset.
    """

    model: pf.PoseAutoencoder
    name: str
    sha256: str
    reference: dict[str, np.ndarray] = field(default_factory=dict)

    def features(self, keypoints: Keypoints | None) -> np.ndarray:
        """Features of a clip's windows `[N, 32]`; N is 0 without a pose or when it is too short."""
        points = pf.gesture_points(keypoints) if keypoints is not None else None
        if points is None:
            return np.zeros((0, pf.FEATURES), np.float32)
        return pf.pose_features(self.model, pf.pose_windows(points, window=self.model.window))


def pose_space(store: Store, preset: Preset) -> PoseSpace | str:
    """The trained autoencoder with its reference, or why there is none."""
    from paha_core.training.tasks.pose_autoencoder import WEIGHTS, load_windows, pose_run

    if not pose_run(store, preset).is_done():
        return MISSING
    model, sha256 = pf.load_autoencoder(store.read_bytes(WEIGHTS))
    windows = load_windows(store, preset, "train", model.window)
    reference = {d: pf.pose_features(model, w) for d, w in windows.by_dataset.items()}
    reference["all"] = np.concatenate(list(reference.values()))
    name = f"pose-autoencoder[w{model.window}, 15 fps, {preset.pose.detector}]"
    return PoseSpace(model, name, sha256, reference)
