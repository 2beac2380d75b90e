"""The registry of the kinds of corpora, each with its way to read footage.

A corpus is an entry of the preset's `corpora` under any name; its `kind` names one of these. To add
a kind: a section in `paha_core/config/data.py`, a module with its ingestion, one entry below.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paha_core.config import CnasConfig, CorporaConfig, CorpusConfig, PatsConfig
from paha_core.corpora.cnas import cnas_card_lines, cnas_footage, ingest_cnas, long_source_filters
from paha_core.corpora.filters import Filter
from paha_core.corpora.pats import ingest_pats, interval_filters, pats_footage
from paha_core.engine.manifest_stage import StageResult
from paha_core.store import Store

Footage = tuple[str | Path, ...]


@dataclass(frozen=True)
class Corpus:
    """One kind of corpus.

    `ingest(store, config, dataset, *footage, workers=, retry_rejected=, prune=)` brings the clips
    of the corpus `dataset` up to date; `footage_of(section, studio)` returns its files: those of
    the section, or the studio's in that folder or URL; `filters(section)` returns the filters that
    are on; `card_lines(section)` returns further facts for the data set card.
    """

    title: str
    config: type[CorpusConfig]
    ingest: Callable[..., StageResult]
    filters: Callable[[Any], tuple[Filter, ...]]
    footage_of: Callable[[Any, str], Footage]
    card_lines: Callable[[Any], list[str]] = lambda section: []


CORPORA: dict[str, Corpus] = {
    corpus.config.model_fields["kind"].default: corpus
    for corpus in (
        Corpus(
            "PATS clips (Pose, Audio, Transcript, Style)",
            PatsConfig,
            ingest_pats,
            interval_filters,
            pats_footage,
        ),
        Corpus(
            "Clips of CNAS's form (Chinese news anchors' speech)",
            CnasConfig,
            ingest_cnas,
            long_source_filters,
            cnas_footage,
            cnas_card_lines,
        ),
    )
}


def ingest(
    store: Store,
    config: CorporaConfig,
    dataset: str,
    footage: Sequence[str | Path],
    **options: Any,
) -> StageResult:
    """Bring the clips of `dataset` in `store` up to date with `footage`, as its kind reads it."""
    kind = CORPORA[config.entry(dataset).kind]
    with _fewer_collections():
        return kind.ingest(store, config, dataset, *footage, **options)


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Search for reference cycles less often: a list of 100,000 rows is a million objects without
    any, which Python would search again and again while they are made."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def title(section: CorpusConfig, dataset: str) -> str:
    """What the card calls a corpus: its kind's title, or its own name."""
    return CORPORA[section.kind].title if dataset == section.kind else f"Clips of {dataset}"
