"""Exports clips as WebDataset shards, or as a folder that Hugging Face's `datasets` loads. Only
kept clips are exported, under their ids. The same clips give the same bytes; a second run writes
only what is missing or changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from paha_core.corpora.card import card
from paha_core.corpora.clips import ClipRow, clip_rows
from paha_core.corpora.record import read_record
from paha_core.engine.manifest_stage import KEPT, clip_key
from paha_core.errors import UserError
from paha_core.store import Store, sha256_json

Format = Literal["webdataset", "hf"]
CLIPS_PER_SHARD = 64
EXPORTED = (
    *("clip_id", "dataset", "speaker", "split", "source_id", "interval", "source", "start", "end"),
    *("frames", "fps", "size", "audio_rate", "sha256", "audio_sha256", "licence"),
)
INDEX = "export.json"  # file -> hash of what it was made from


def export_corpus(
    store: Store,
    dataset: str,
    out: Store,
    format: Format,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Write the kept clips of `dataset` to `out`; returns how many clips, and files written now.

    Raises `UserError` when there are none.
    """
    settings, rows = read_record(store, dataset), clip_rows(store, dataset)
    kept = sorted((r for r in rows if r["status"] == KEPT), key=lambda row: str(row["clip_id"]))
    if not kept:
        raise UserError(f"{store.url}: no clip of {dataset} was kept")
    index = out.read_json(INDEX) if out.exists(INDEX) else {}
    files = _shards(kept) if format == "webdataset" else _folder(kept)
    written = 0
    for n, (rel, content) in enumerate(files.items()):
        stamp = sha256_json(
            [[row["sha256"], row["audio_sha256"], _metadata(row)] for row in content]
        )
        if index.get(rel) != stamp or not out.exists(rel):
            _write(store, out, rel, content)
            index[rel] = stamp
            out.write_json(INDEX, index)
            written += 1
        progress(n + 1, len(files))
    for rel in index.keys() - files.keys():
        out.remove(rel)
    out.write_json(INDEX, {rel: index[rel] for rel in files})
    out.write_bytes("README.md", _readme(card(rows, settings, dataset), kept, format).encode())
    return len(kept), written


def _metadata(row: ClipRow) -> dict[str, Any]:
    return {name: row[name] for name in EXPORTED}  # type: ignore[literal-required]


def _shards(kept: Sequence[ClipRow]) -> dict[str, list[ClipRow]]:
    """`<split>-<number>.tar` -> its clips."""
    files = {}
    for split in ("train", "test"):
        own = [row for row in kept if row["split"] == split]
        for n in range(0, len(own), CLIPS_PER_SHARD):
            files[f"{split}-{n // CLIPS_PER_SHARD:06d}.tar"] = own[n : n + CLIPS_PER_SHARD]
    return files


def _folder(kept: Sequence[ClipRow]) -> dict[str, list[ClipRow]]:
    """Videos beside a `metadata.jsonl` that names them, and the sound in a folder of its own."""
    files: dict[str, list[ClipRow]] = {}
    for row in kept:
        key = clip_key(row["clip_id"])
        files[f"data/{row['split']}/{key}.mp4"] = [row]
        files[f"audio/{row['split']}/{key}.wav"] = [row]
    for split in sorted({row["split"] for row in kept}):
        files[f"data/{split}/metadata.jsonl"] = [row for row in kept if row["split"] == split]
    return files


def _write(store: Store, out: Store, rel: str, content: Sequence[ClipRow]) -> None:
    with out.writing(rel) as target:
        if rel.endswith(".tar"):
            _write_shard(store, target, content)
        elif rel.endswith(".jsonl"):
            lines = (json.dumps(_listed(row), ensure_ascii=False) for row in content)
            target.write_text("".join(line + "\n" for line in lines))
        else:
            row = content[0]
            media = row["path"] if rel.endswith(".mp4") else row["audio_path"]
            target.write_bytes(store.read_bytes(media))


def _listed(row: ClipRow) -> dict[str, Any]:
    key = clip_key(row["clip_id"])
    sound = f"audio/{row['split']}/{key}.wav"
    return {"file_name": f"{key}.mp4", "audio": sound} | _metadata(row)


def _write_shard(store: Store, target: Path, content: Sequence[ClipRow]) -> None:
    """Times and owners are fixed: the same clips give the same bytes."""
    import webdataset  # and torch with it

    owner = {"mtime": 0, "user": "", "group": ""}
    with target.open("wb") as file, webdataset.TarWriter(file, encoder=False, **owner) as tar:
        for row in content:
            text = json.dumps(_metadata(row), ensure_ascii=False, sort_keys=True)
            media = {"mp4": row["path"], "wav": row["audio_path"]}
            read = {ending: store.read_bytes(rel) for ending, rel in media.items()}
            tar.write({"__key__": clip_key(row["clip_id"]), "json": text.encode(), **read})


def _readme(text: str, kept: Sequence[ClipRow], format: Format) -> str:
    """The card; for `datasets` its front matter lists the files of each split."""
    if format == "webdataset":
        return text
    splits = sorted({row["split"] for row in kept}, reverse=True)
    files = "".join(f"  - split: {name}\n    path: data/{name}/*\n" for name in splits)
    configs = f"configs:\n- config_name: default\n  data_files:\n{files}"
    return text.replace("---\n", f"---\n{configs}", 1)
