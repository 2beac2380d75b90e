"""Ablations: derived presets, and stores laid over a store for the networks that they train.

An ablation shares clips, shards, codec and every network that it does not change. Its own networks
are under `variants/<name>/` of the same store; everything else is read from the store below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from paha_core.config import Preset, derived
from paha_core.store import Store
from paha_core.trained import CLASSIFIERS, UNIVDM


class OverlayStore(Store):
    """A store whose missing files are read from the store below; all writes go to the upper one."""

    def __init__(self, url: str, below: str) -> None:
        super().__init__(url)
        self.top, self.below = Store(url), Store(below)

    def __reduce__(self) -> tuple[Any, ...]:
        return (OverlayStore, (self.url, self.below.url))

    @property
    def writable(self) -> Store:
        return self.top

    def create(self, rel: str, data: bytes) -> bool:
        return self.top.create(rel, data)

    def full(self, rel: str) -> str:
        """The path of `rel` in the upper store, or in the one below if only that has it."""
        on_top = self.top.exists(rel) or not self.below.exists(rel)
        return (self.top if on_top else self.below).full(rel)

    def versions(self, prefix: str) -> dict[str, str]:
        return self.below.versions(prefix) | self.top.versions(prefix)

    def glob(self, pattern: str) -> list[str]:
        return sorted({*self.top.glob(pattern), *self.below.glob(pattern)})

    def remove(self, rel: str) -> None:
        self.top.remove(rel)

    def remove_files(self, rels: Sequence[str]) -> None:
        self.top.remove_files(rels)

    def writing(self, rel: str) -> AbstractContextManager[Path]:  # type: ignore[override]
        return self.top.writing(rel)

    def writing_folder(  # type: ignore[override]
        self, rel: str, marker: str = ""
    ) -> AbstractContextManager[Path]:
        return self.top.writing_folder(rel, marker)

    def move(self, old: str, new: str) -> bool:
        return self.top.move(old, new)

    def growing(self, rel: str) -> Path:
        return self.top.growing(rel)


def variant_name(changes: Mapping[str, Any]) -> str:
    """`univdm.par-False`: readable, and the same for the same changes."""
    return "+".join(f"{name}-{value}" for name, value in sorted(_flat(changes)))


def _flat(changes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in changes.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def trained_variant(
    store: Store, preset: Preset, changes: Mapping[str, Any], device: str, *, guided: bool
) -> tuple[Store, Preset]:
    """Train the networks of these changes; returns their store and preset, or the given ones for no
    changes.

    `guided`: also the classifiers, and the negatives they are trained on. Finished networks are not
    trained again, and a killed run resumes.
    """
    if not changes:
        return store, preset
    from paha_core.inference.negatives import make_negatives
    from paha_core.training import parallel

    preset = derived(preset, changes)
    over = OverlayStore(f"{store.url}/variants/{variant_name(changes)}", store.url)
    parallel.train(over, preset, parallel.new_run(over, preset, UNIVDM, device))
    if guided:
        make_negatives(over, preset, device=device)
        for name in CLASSIFIERS:
            parallel.train(over, preset, parallel.new_run(over, preset, name, device))
    return over, preset
