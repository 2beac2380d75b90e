"""Column maps: how a list of intervals that others published is read, as one yaml file each.

Those of the package are in `paha_core/columns`; a corpus' `columns` names one of them, or a file.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from paha_core.config.base import Section, wrong_keys
from paha_core.errors import UserError

Boxes = Literal["xyxy_shares", "xyxy_pixels", "xywh_pixels", "centre_shares"]


class Column(Section):
    """One cell: the first of these columns that a row has (`a.b` is b within a), of which `match`
    keeps its first group, put into `write` in place of `{}`."""

    column: tuple[str, ...]
    match: str | None = None
    write: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        value = {"column": value} if isinstance(value, str) else value
        if isinstance(value, dict) and isinstance(value.get("column"), str):
            return value | {"column": (value["column"],)}
        return value

    @field_validator("match")
    @classmethod
    def _has_a_group(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups < 1:
                raise ValueError(f"{value!r} has no group: put what is kept in ( )")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value


class Columns(Section):
    """Where an interval's parts stand. Without `start` and `end` a file is a clip as a whole."""

    id: Column
    speaker: Column
    video: Column | None = Field(None, description="file name of the source")
    link: Column | None = None
    start: Column | None = Field(None, description="seconds, or H:MM:SS")
    end: Column | None = None
    duration: Column | None = Field(None, description="in place of `end`")
    split: Column | None = Field(None, description="train, test or dev")
    box: str | tuple[str, ...] | None = Field(
        None, description="column with a list of numbers, or a column for each"
    )

    @model_validator(mode="after")
    def _complete(self) -> Columns:
        if self.video is None and self.link is None:
            raise ValueError("name a column for `video` or `link`")
        if (self.start is None) != (self.end is None and self.duration is None):
            raise ValueError("`start` goes with `end` or `duration`")
        return self


class ColumnMap(Section):
    """A published list: what it is, its format, its columns, and the defaults of a corpus of it."""

    title: str
    url: str = ""
    licence: str
    language: str = "unknown"
    format: Literal["csv", "json", "jsonl", "json_files", "parquet", "hdtf"] = "csv"
    header: tuple[str, ...] = Field((), description="of a csv that has none")
    columns: Columns
    box: Boxes | None = Field(None, description="what the numbers of `columns.box` are")
    entry: dict[str, Any] = Field({}, description="settings of the corpus: filters, lengths")

    @model_validator(mode="after")
    def _box(self) -> ColumnMap:
        if (self.box is None) != (self.columns.box is None):
            raise ValueError("`box` says what the numbers of `columns.box` are: give both")
        return self


def column_map_names() -> list[str]:
    """Those that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir())


@cache
def load_column_map(name: str) -> ColumnMap:
    """The column map of that name, or at that path.

    Raises `UserError` naming each unknown key or wrong value.
    """
    if name in column_map_names():
        text = (_folder() / f"{name}.yaml").read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        known = ", ".join(column_map_names())
        raise UserError(f"no column map {name!r}: there are {known}, or give a .yaml file")
    try:
        return ColumnMap.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"column map {name} is not valid yaml: {error}") from error
    except ValidationError as error:
        raise UserError(f"column map {name} can't be used:\n{wrong_keys(error)}") from None


def _folder() -> Any:
    return resources.files("paha_core") / "columns"
