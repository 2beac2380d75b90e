"""What every section of a preset has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a preset, checked when it is read: unknown keys are refused, values stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def settings(self) -> dict[str, Any]:
        """The section as plain JSON: what a stage's fingerprint is made of."""
        return self.model_dump(mode="json")
