"""What every section of a preset has in common."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

Precision = Literal["fp32", "tf32", "bf16"]
"""What networks compute in: float32, float32 with TF32 products (GPU), or bfloat16 autocast."""
Weights = Literal["fp32", "int8"]
"""What UniVDM's and the classifiers' weights are held in (`models/int8.py`)."""


class Section(BaseModel):
    """A part of a preset: unknown keys are refused when it is read, and its values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # Keys that do not affect the result: runtime settings, and paths of files that are identified
    # by their content.
    outside: ClassVar[frozenset[str]] = frozenset()
    # Keys that came after runs had been made: at their defaults they change no identity.
    added: ClassVar[frozenset[str]] = frozenset()

    def settings(self) -> dict[str, Any]:
        """The section as plain JSON: what a stage's fingerprint is made of."""
        return self.model_dump(mode="json")

    def identity(self, *without: str) -> dict[str, Any]:
        """The `settings` that affect the result: without the keys `outside`, here and in sections
        below, without the keys `without`, and without those `added` that are at their defaults."""
        found: dict[str, Any] = {}
        fields = type(self).model_fields
        unused = {name for name in self.added if getattr(self, name) == fields[name].default}
        for name, plain in self.settings().items():
            if name not in self.outside | unused and name not in without:
                value = getattr(self, name)
                found[name] = value.identity() if isinstance(value, Section) else plain
        return found


def wrong_keys(error: ValidationError) -> str:
    """A line for each unknown key or wrong value."""
    return "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
