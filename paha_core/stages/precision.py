"""Precisions that the preset's device can't compute in, found before anything is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from paha_core.errors import UserError
from paha_core.stages.registry import TABLES, stage_of
from paha_core.stages.workspace import device_of

if TYPE_CHECKING:
    from paha_core.config import Preset


def refused_precisions(preset: Preset, stages: Iterable[str]) -> list[str]:
    """One sentence for each section of the preset whose precision these stages can't compute in on
    its device."""
    from paha_core.config import refused_precision

    sections = dict.fromkeys(_section(preset, stage) for stage in stages)
    used = {name: getattr(preset, name) for name in sections if name}
    found = [refused_precision(n, s.precision, s.compile, "cpu") for n, s in used.items()]
    return list(filter(None, found)) if any(found) and device_of(preset) == "cpu" else []


def require_precision(preset: Preset, stages: Iterable[str]) -> None:
    """Raise `UserError` where these stages would be refused for their precision."""
    if found := refused_precisions(preset, stages):
        raise UserError("; ".join(found))


def _section(preset: Preset, stage: str) -> str:
    """The section whose precision a stage computes in; empty where it has none."""
    if stage_of(stage).trains:
        return "trainer" if stage_of(stage).replaced(preset) is None else ""
    if stage == "negative_samples":
        return "negatives"
    return "generation" if stage in ("generated_clips", *TABLES) else ""
