"""What a corpus was made with, kept beside its clips (`corpora/<dataset>.json`): its card and its
export read that, so that nobody has to repeat the settings or guesses a licence."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from paha_core.config import CorporaConfig
from paha_core.errors import UserError
from paha_core.store import Store

DRAWN = "apache-2.0 (drawn by this project)"


def write_record(store: Store, config: CorporaConfig, dataset: str) -> None:
    """Remember the settings of the latest ingestion of `dataset`."""
    rel, settings = _place(dataset), config.settings()
    if not store.exists(rel) or store.read_json(rel) != settings:
        store.write_json(rel, settings)


def read_record(store: Store, dataset: str) -> Any:
    """The section (`PatsConfig` or `CnasConfig`) that the clips were made with.

    Raises `UserError` where nothing was ingested, or by a version with other settings.
    """
    rel = _place(dataset)
    if not store.exists(rel):
        raise UserError(
            f"{store.url} has no clips of {dataset}: run `paha ingest` or `clips` first"
        )
    try:
        return getattr(CorporaConfig.model_validate(store.read_json(rel)), dataset)
    except ValidationError:
        raise UserError(f"{store.uri(rel)} is of another version: ingest once more") from None


def licence_of(config: CorporaConfig, dataset: str) -> str:
    """What the settings say of footage; drawn footage is under this project's licence."""
    settings = getattr(config, dataset)
    own = settings.programmes if dataset == "cnas" else settings.csv
    return str(settings.licence if own or config.studio is None else DRAWN)


def _place(dataset: str) -> str:
    return f"corpora/{dataset}.json"
