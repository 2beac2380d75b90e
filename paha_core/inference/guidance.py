"""Sequential and Differential Guidance (paper 4.2, equations 8-12, algorithm 1; docs/design.md 9).

The energy of a classifier is E = softplus(-logit) = -log s: the printed minus of equations 8 and 9
then moves the latents towards a higher score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from paha_core.config import GuidanceConfig, GuidedMode
from paha_core.trained import Part

Logit = Callable[[torch.Tensor, int], torch.Tensor]  # (latents, timestep) -> [b]


@dataclass(frozen=True)
class GuidedStates:
    """The states of one guided step, and the logits [b] before it. A classifier without strength is
    not run, and leaves the latents as they are."""

    non_face: torch.Tensor  # equation 8
    face: torch.Tensor  # equation 9
    both: torch.Tensor  # equation 10
    face_logit: torch.Tensor | None
    non_face_logit: torch.Tensor | None

    def metrics(self, latents: torch.Tensor) -> dict[str, torch.Tensor | None]:
        """Metrics of a step, logged because the lambdas were tuned for the paper's weights: logits,
        and |update| / |z| of each region and of both; means over the batch."""

        def relative_update(state: torch.Tensor) -> torch.Tensor:
            norms = (state - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)
            return norms.mean()

        return {
            "update": relative_update(self.both),
            "face_update": relative_update(self.face),
            "non_face_update": relative_update(self.non_face),
            "face_logit": None if self.face_logit is None else self.face_logit.mean(),
            "non_face_logit": None if self.non_face_logit is None else self.non_face_logit.mean(),
        }


@dataclass(frozen=True)
class ClassifierGuidance:
    """Two classifiers, where each may act, and how strongly.

    Attributes:
        mode: unguided runs have no `ClassifierGuidance`.
        logits: of each classifier that has any strength, as functions of latents [b, C, f, h, w]
            and their timestep.
        face_mask: M_face [b, 1, 1, h, w] in 0..1; M_non-face is its complement.
        config: lambdas, rate and form.
        has_first_frame: frame 0 is given as a condition, and guidance leaves it unchanged.
    """

    mode: GuidedMode
    logits: Mapping[Part, Logit]
    face_mask: torch.Tensor
    config: GuidanceConfig
    has_first_frame: bool = False

    def acts_at(self, index: int, steps: int) -> bool:
        """Whether step `index` of `steps` is guided: the first `rate` of them are."""
        return index < self.config.guided_steps(steps)

    def guide(self, latents: torch.Tensor, timestep: int, sigma: float) -> GuidedStates:
        """Equations 8 to 10 at noise level `sigma` = sqrt(1 - alpha_bar_t)."""
        face_mask, non_face_mask = self.masks(latents)
        non_face = face = latents
        face_logit = non_face_logit = None
        if strength := self.config.lambda_non_face:
            gradient, non_face_logit = energy_gradient(self.logits["non_face"], latents, timestep)
            non_face = latents - strength * sigma * gradient * non_face_mask  # equation 8
        if strength := self.config.lambda_face:
            gradient, face_logit = energy_gradient(self.logits["face"], non_face, timestep)
            face = latents - strength * sigma * gradient * face_mask  # equation 9
        if face is latents:  # without strength: bit-equal, and solved only once
            both = non_face
        elif non_face is latents:
            both = face
        else:
            both = face + non_face - latents  # equation 10
        return GuidedStates(non_face, face, both, face_logit, non_face_logit)

    def masks(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """M_face and M_non-face, [b, 1, 1 or f, h, w]; both are 0 in a given first frame."""
        if not self.has_first_frame:
            return self.face_mask, 1 - self.face_mask
        is_free = torch.ones(latents.shape[2], 1, 1, device=latents.device)
        is_free[0] = 0
        return self.face_mask * is_free, (1 - self.face_mask) * is_free

    def states(self, guided: GuidedStates) -> tuple[torch.Tensor, ...]:
        """The states that this step solves, each once: z* alone, and with Differential Guidance the
        results of equations 8 and 9 too.

        Lines 3 and 8 of algorithm 1 are the same call one index apart; taken literally the guided
        state would be thrown away. So there is one solve a step, from the guided state.
        """
        if self.mode == "sequential" or self.config.lambda_diff == 0:
            return (guided.both,)
        wanted = (guided.both, guided.non_face, guided.face)
        return tuple({id(state): state for state in wanted}.values())

    def combine(self, guided: GuidedStates, solved: Sequence[torch.Tensor]) -> torch.Tensor:
        """Equation 11 (sequential) or 12 (differential) from the solved `states`."""
        if self.mode == "sequential" or self.config.lambda_diff == 0:
            return solved[0]  # equation 11
        by_state = dict(zip(map(id, self.states(guided)), solved, strict=True))
        both, non_face, face = (
            by_state[id(state)] for state in (guided.both, guided.non_face, guided.face)
        )
        return self.differential(both, non_face, face)

    def differential(
        self, both: torch.Tensor, non_face: torch.Tensor, face: torch.Tensor
    ) -> torch.Tensor:
        """Equation 12 from the three solved states.

        As printed the sum multiplies the latents by 1 + lambda_diff at every step. The default form
        takes the differences to f(z*) instead: bounded, and to first order it removes what each
        classifier leaked into the other's region through the network. With the printed masks the
        same differences remove each classifier's work in its own region (`docs/results`).
        """
        face_mask, non_face_mask = self.masks(both)
        match self.config.form:
            case "printed":  # equation 12 to the letter
                change = non_face * face_mask + face * non_face_mask
            case "residual_printed_masks":
                change = (non_face - both) * face_mask + (face - both) * non_face_mask
            case "residual":
                change = (face - both) * face_mask + (non_face - both) * non_face_mask
        return both + self.config.lambda_diff * change


def energy_gradient(
    logit: Logit, latents: torch.Tensor, timestep: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of E = softplus(-logit) with respect to the latents, taken in float32, and the
    logit [b]. The classifiers' weights get no gradient (`ClassifierLogit`)."""
    with torch.enable_grad():
        leaf = latents.detach().float().requires_grad_(True)
        value = logit(leaf, timestep).float()
        (gradient,) = torch.autograd.grad(F.softplus(-value).sum(), leaf)
    return gradient.to(latents.dtype), value.detach()
