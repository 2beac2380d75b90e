"""The guidance of each segment of a video: which classifiers guide it, and where its face is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from paha_core.config import GuidanceConfig, GuidedMode, PoseConfig, Precision
from paha_core.inference.guidance import ClassifierGuidance
from paha_core.inference.inputs import InputError
from paha_core.inference.precision import autocast
from paha_core.inference.sampling import Conditions
from paha_core.media.frames import resize
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import EncodedConditions
from paha_core.pose.face import detect_face_boxes
from paha_core.shards.windows import face_mask
from paha_core.trained import PARTS, Part

DETECT_SIZE = 256  # pixels: smaller frames are enlarged for the detector


class GateError(InputError):
    """Guidance by a classifier that did not pass its audio-swap gate."""


@dataclass
class SegmentGuidanceFactory:
    """Makes each segment's `ClassifierGuidance`.

    Attributes:
        face_boxes: of the segment's condition image, float [b, 4] xyxy in units of the side. An
            empty one raises `InputError`: without a face there is no M_face.
    """

    mode: GuidedMode
    classifiers: Mapping[Part, SyncClassifier]
    face_boxes: np.ndarray
    config: GuidanceConfig
    pose: PoseConfig
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        empty = (self.face_boxes[:, 2:] <= self.face_boxes[:, :2]).any(axis=1)
        if empty.any():
            raise InputError(
                f"no face is known in reference picture {int(empty.argmax())} of the batch, and "
                "guidance acts inside and outside a face box: use another picture, or unguided"
            )

    def update_face_boxes(self, frames: np.ndarray) -> None:
        """Detect the faces of the next segment's condition images, uint8 [b, H, W, 3]. Where no
        face is found, the box of the segment before is kept."""
        pictures = resize(frames, max(frames.shape[1], DETECT_SIZE))
        self.face_boxes = self.face_boxes.copy()
        for row, picture in enumerate(pictures):
            faces = detect_face_boxes(picture[None], self.pose)
            if faces.found[0]:
                self.face_boxes[row] = faces.boxes[0] / len(picture)

    def __call__(
        self, conditions: Conditions, rows: slice, has_first_frame: bool
    ) -> ClassifierGuidance:
        """M_face is the face box of the condition image, static over the segment."""
        grid = conditions.reference_latents.shape[-2:]
        masks = [face_mask(box[None], np.array([True]), *grid) for box in self.face_boxes[rows]]
        mask = torch.from_numpy(np.stack(masks))[:, None, None]  # [b, 1, 1, h, w]
        return ClassifierGuidance(
            self.mode,
            {
                p: ClassifierLogit.of(self.classifiers[p], conditions, self.precision)
                for p in guiding_parts(self.config)
            },
            mask.to(conditions.reference_latents.device),
            self.config,
            has_first_frame,
        )


@dataclass(frozen=True)
class ClassifierLogit:
    """A classifier as a function of latents and timestep alone, with the segment's conditions
    encoded once. Its weights get no gradient; its latents' gradient is float32 in any precision."""

    classifier: SyncClassifier
    conditions: EncodedConditions
    precision: Precision

    @classmethod
    def of(
        cls, classifier: SyncClassifier, conditions: Conditions, precision: Precision
    ) -> ClassifierLogit:
        classifier.eval().requires_grad_(False)
        with torch.no_grad(), autocast(classifier.device, precision):
            encoded = classifier.encode_conditions(*conditions.inputs)
        return cls(classifier, encoded, precision)

    def __call__(self, latents: torch.Tensor, timestep: int) -> torch.Tensor:
        """[b] for latents [b, C, f, h, w]."""
        timesteps = torch.full(latents.shape[:1], timestep, device=latents.device)
        with autocast(latents.device, self.precision):
            return self.classifier.score(latents, timesteps, self.conditions)


def guiding_parts(config: GuidanceConfig) -> list[Part]:
    """The parts whose classifiers have any strength; the others are not run."""
    return [part for part in PARTS if getattr(config, f"lambda_{part}")]
