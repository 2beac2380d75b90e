"""The settings that a corpus was made with, kept beside its clips (`corpora/<dataset>.json`): its
card and its export read them from there."""

from __future__ import annotations

from pydantic import ValidationError

from paha_core.config import CorporaConfig, CorpusConfig
from paha_core.errors import UserError, run_first
from paha_core.store import Store

DRAWN = "apache-2.0 (drawn by this project)"


def write_record(store: Store, config: CorporaConfig, dataset: str) -> None:
    """Keep the settings of the latest ingestion of `dataset`."""
    rel, settings = _place(dataset), config.settings()
    if store.read_json(rel, absent=None) != settings:
        store.write_json(rel, settings)


def read_record(store: Store, dataset: str) -> CorpusConfig:
    """The section (a `CorpusConfig`) that the clips were made with.

    Raises `UserError` where nothing was ingested, or by a version with other settings.
    """
    rel = _place(dataset)
    if not store.exists(rel):
        raise UserError(
            f"{store.url} has no clips of {dataset}: run `paha ingest`, or {run_first('clips')}"
        )
    try:
        section: CorpusConfig = CorporaConfig.model_validate(store.read_json(rel)).entry(dataset)
        return section
    except (ValidationError, KeyError):
        raise UserError(
            f"{store.uri(rel)} was written by another version: ingest once more"
        ) from None


def licence_of(config: CorporaConfig, dataset: str) -> str:
    """The licence that the settings give; the studio's footage is under this project's."""
    section: CorpusConfig = config.entry(dataset)
    return section.licence if section.has_footage or config.studio is None else DRAWN


def _place(dataset: str) -> str:
    return f"corpora/{dataset}.json"
