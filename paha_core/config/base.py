"""What every section of a preset has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a preset: unknown keys are refused when it is read, and its values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def settings(self) -> dict[str, Any]:
        """The section as plain JSON: what a stage's fingerprint is made of."""
        return self.model_dump(mode="json")
