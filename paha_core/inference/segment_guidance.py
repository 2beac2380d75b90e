"""Where and by which classifiers a long video is guided: the guidance of each of its segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from paha_core.config import GuidanceConfig, PoseConfig
from paha_core.inference.guidance import Guidance, GuidedMode
from paha_core.inference.inputs import InputError
from paha_core.inference.sampling import Conditions
from paha_core.media.frames import resize
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.pose.face import detect_face_boxes
from paha_core.shards.windows import face_mask
from paha_core.trained import PARTS, Part

DETECT_SIZE = 256  # pixels: smaller frames are enlarged for the detector


class GateError(InputError):
    """Guidance by a classifier that does not hear."""


@dataclass
class Guide:
    """Makes each segment's `Guidance` (a `GuidanceFor`).

    Attributes:
        face_boxes: of the segment's condition image, float [b, 4] xyxy in units of the side. Raises
            `InputError` for an empty one: without a face there is no M_face.
    """

    mode: GuidedMode
    classifiers: Mapping[Part, SyncClassifier]
    face_boxes: np.ndarray
    config: GuidanceConfig
    pose: PoseConfig

    def __post_init__(self) -> None:
        empty = (self.face_boxes[:, 2:] <= self.face_boxes[:, :2]).any(axis=1)
        if empty.any():
            raise InputError(
                f"no face is known in reference picture {int(empty.argmax())} of the batch, and "
                "guidance acts inside and outside a face box: use another picture, or unguided"
            )

    def look(self, frames: np.ndarray) -> None:
        """Take the face boxes of the next segment's condition images, uint8 [b, H, W, 3]; where no
        face is found the one before stays."""
        pictures = resize(frames, max(frames.shape[1], DETECT_SIZE))
        self.face_boxes = self.face_boxes.copy()
        for row, picture in enumerate(pictures):
            faces = detect_face_boxes(picture[None], self.pose)
            if faces.found[0]:
                self.face_boxes[row] = faces.boxes[0] / len(picture)

    def __call__(self, conditions: Conditions, rows: slice) -> Guidance:
        """M_face is the face box of the condition image, static over the segment."""
        grid = conditions.reference_latents.shape[-2:]
        masks = [face_mask(box[None], np.array([True]), *grid) for box in self.face_boxes[rows]]
        mask = torch.from_numpy(np.stack(masks))[:, None, None]  # [b, 1, 1, h, w]
        return Guidance(
            self.mode,
            {p: ClassifierLogit(self.classifiers[p], conditions) for p in acting(self.config)},
            mask.to(conditions.reference_latents.device),
            self.config,
        )


@dataclass(frozen=True)
class ClassifierLogit:
    """A classifier as a function of latents and timestep alone; its weights need no gradient. It
    computes in float32 whatever UniVDM computes in, since its gradient is what counts."""

    classifier: SyncClassifier
    conditions: Conditions

    def __post_init__(self) -> None:
        self.classifier.eval().requires_grad_(False)

    def __call__(self, latents: torch.Tensor, timestep: int) -> torch.Tensor:
        """[b] for latents [b, C, f, h, w]."""
        return self.classifier(
            latents,
            torch.full(latents.shape[:1], timestep, device=latents.device),
            self.conditions.reference_latents,
            self.conditions.reference_embedding,
            self.conditions.audio,
        )


def acting(config: GuidanceConfig) -> list[Part]:
    """The classifiers that have any strength; the others are not asked."""
    return [part for part in PARTS if getattr(config, part)]
