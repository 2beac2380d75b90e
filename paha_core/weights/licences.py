"""What the licences of weights, corpora and metrics add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paha_core.config import Preset
from paha_core.weights.manifest import manifest

Terms = Literal["free", "with_terms", "non_commercial", "unknown"]
_SENTENCES: dict[Terms, str] = {
    "non_commercial": "not for commercial use, because of",
    "unknown": "not settled, because no licence is stated for",
    "with_terms": "under the terms of",
}


@dataclass(frozen=True)
class LicensedPart:
    """Weights or a corpus that a run uses. `binds`: whether its terms apply to the trained
    networks."""

    kind: Literal["weights", "corpus", "metric"]
    name: str
    licence: str
    terms: Terms
    binds: bool
    note: str = ""


def parts_of(preset: Preset) -> list[LicensedPart]:
    """The weights and corpora that a preset names, with their licences."""
    found = []
    for name, entry in manifest().weights.items():
        if entry.value_in(preset) is None:
            continue
        licence = manifest().licence_of(name)
        metric = entry.stages == ("benchmark",)
        found.append(
            LicensedPart(
                "metric" if metric else "weights",
                entry.title,
                licence.title,
                licence.terms,
                licence.passes_on and not metric,
                licence.note,
            )
        )
    for dataset in preset.corpora.datasets:
        config = preset.corpora.entry(dataset)
        drawn = preset.corpora.studio is not None and not config.has_footage
        licence_text = "drawn and spoken by this project" if drawn else config.licence
        terms: Terms = "free" if drawn else _terms_of(licence_text)
        found.append(LicensedPart("corpus", dataset, licence_text, terms, terms != "free"))
    return found


def summary(parts: list[LicensedPart]) -> str:
    """What a network trained with these parts may be used for, in one sentence."""
    clauses = []
    for terms, sentence in _SENTENCES.items():
        bound = [part for part in parts if part.binds and part.terms == terms]
        if names := [f"{part.name} ({part.licence})" for part in bound]:
            clauses.append(f"{sentence} {', '.join(names)}")
    return "; ".join(clauses) or "no part forbids any use"


def _terms_of(text: str) -> Terms:
    """The terms of a corpus' licence line. What is not recognised is unknown, never free."""
    lower = text.lower()
    if "unknown" in lower:
        return "unknown"
    if "non-commercial" in lower or "noncommercial" in lower or "by-nc" in lower or "-nc" in lower:
        return "non_commercial"
    if any(name in lower for name in ("cc0", "public domain", "apache", "mit licence", "cc-by-4")):
        return "free"
    return "unknown"
