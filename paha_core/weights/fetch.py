"""Fetch pretrained weights from a hub or a folder: resumed, verified, recorded.

Every file is checked against the manifest's sha256, or, where the manifest has none, against the
one that was recorded at the first fetch (`weights.lock.json` in the target folder). Nothing else in
this project downloads weights.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

from paha_core.config import load_preset
from paha_core.errors import UserError
from paha_core.store import Store, sha256_file
from paha_core.weights.manifest import PretrainedWeights, manifest

LOCK = "weights.lock.json"
Lock = dict[str, Any]  # name -> {"revision": commit, "files": {path: {"bytes", "sha256"}}}


class WeightsError(UserError):
    """Weights that could not be fetched; the message names them, the reason, and what to do."""


@dataclass(frozen=True)
class Fetched:
    """The result of a fetch: files fetched, files that existed already, and what the user must
    provide (name to instruction)."""

    downloaded: int
    reused: int
    manual: dict[str, str]


def wanted_by(preset_name: str, only: list[str]) -> dict[str, PretrainedWeights]:
    """The weights that a preset's keys name, or those of the names `only`.

    The weights of an optional key that the preset leaves empty are fetched only when named.
    Raises `UserError` for an unknown name.
    """
    if only:
        return manifest().chosen(only)
    preset = load_preset(preset_name)
    return {
        name: entry
        for name, entry in manifest().weights.items()
        if entry.value_in(preset) is not None
    }


def read_lock(folder: Path) -> Lock:
    path = folder / LOCK
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def place_of(name: str, entry: PretrainedWeights, folder: Path) -> Path:
    """The value of the preset's key: a folder, or a file in it."""
    base = folder / name
    return base if entry.gives == "folder" else base / Path(next(iter(entry.files))).name


def target_of(name: str, entry: PretrainedWeights, file: str, folder: Path) -> Path:
    """The local path of one file of an entry."""
    relative = file if entry.gives == "folder" else Path(file).name
    return folder / name / relative


def fetch(
    chosen: Mapping[str, PretrainedWeights],
    folder: Path,
    *,
    source: str = "",
    on_file: Callable[[str, str], None] = lambda name, file: None,
) -> Fetched:
    """Fetch all files of `chosen` into `folder`, verify them and record them in its lock.

    `source`: a folder or `file://` URL that holds `<repository>/<file>` or `<name>/<file>`, for
    machines without a network; empty: the hub (`HF_ENDPOINT` names a mirror). A file that is there
    and has the right hash is not fetched again; an interrupted download resumes. Raises
    `WeightsError` for a wrong hash, a moved revision, a full disk, no network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, downloaded, reused = read_lock(folder), 0, 0
    manual: dict[str, str] = {}
    for name, entry in chosen.items():
        known = lock.get(name, {}).get("files", {})
        absent = [file for file in entry.files if not _is_good(name, entry, file, folder, known)]
        reused += len(entry.files) - len(absent)
        if not absent and name in lock:
            continue
        if entry.manual and not source:
            if absent:
                manual[name] = f"{entry.manual}; put it at {place_of(name, entry, folder)}"
                continue
            revision = ""
        else:
            revision = "local" if source else _commit(name, entry)
            before = lock.get(name, {}).get("revision")
            if before not in (None, "local", "") and revision not in (before, "local"):
                raise WeightsError(
                    f"{name}: {entry.repo} has moved from {before[:12]} to {revision[:12]}: pin "
                    f"`revision: {before}`, or remove {folder / name} and fetch it again"
                )
        for file in absent:
            on_file(name, file)
            target = target_of(name, entry, file, folder)
            if source:
                _copy(name, entry, file, source, target)
            else:
                _download(name, entry, file, revision, target)
            downloaded += 1
        lock[name] = {"revision": revision, "files": _verified(name, entry, folder, known)}
        Store(str(folder.absolute())).write_json(LOCK, lock)
    return Fetched(downloaded, reused, manual)


def write_preset(base: str, chosen: Mapping[str, PretrainedWeights], folder: Path) -> Path:
    """`<folder>/<base>.yaml`: the preset with the keys of what was fetched filled in."""
    lock, values = read_lock(folder), {"base": base, "name": base}
    for name, entry in chosen.items():
        if name not in lock:
            continue
        inner: dict[str, Any] = values
        *path, last = entry.key.split(".")
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = str(place_of(name, entry, folder).absolute())
        if last == "pretrained":
            inner["revision"] = lock[name]["revision"]
            inner["sha256"] = lock[name]["files"][entry.weights_file]["sha256"]
    text = f"# Written by `paha weights fetch {base}`; lay your own values over it with `base:`.\n"
    text += yaml.safe_dump(values, sort_keys=False)
    Store(str(folder.absolute())).write_bytes(f"{base}.yaml", text.encode())
    return folder / f"{base}.yaml"


def _is_good(
    name: str, entry: PretrainedWeights, file: str, folder: Path, known: Mapping[str, Any]
) -> bool:
    """Whether the file is there with the hash it should have, if one is known."""
    target = target_of(name, entry, file, folder)
    if not target.is_file():
        return False
    expected = entry.files[file].sha256 or known.get(file, {}).get("sha256")
    if expected is None:
        return bool(entry.manual)
    return sha256_file(target) == expected


def _verified(
    name: str, entry: PretrainedWeights, folder: Path, known: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file. Raises `WeightsError` where one is not what was expected; that
    file is removed, so that the next fetch downloads it again."""
    found = {}
    for file, expected in entry.files.items():
        target = target_of(name, entry, file, folder)
        sha256 = sha256_file(target)
        right = expected.sha256 or known.get(file, {}).get("sha256")
        if right not in (None, sha256):
            target.unlink()
            raise WeightsError(
                f"{name}: {file} has sha256 {sha256[:12]}…, expected {right[:12]}…; it was "
                "removed: fetch again, or choose another mirror with HF_ENDPOINT"
            )
        found[file] = {"bytes": target.stat().st_size, "sha256": sha256}
    return found


def _commit(name: str, entry: PretrainedWeights) -> str:
    """The commit behind the entry's revision."""
    from huggingface_hub import HfApi

    with _explained(name, entry):
        commit = HfApi().model_info(entry.repo, revision=entry.revision).sha
    return str(commit)


def _download(name: str, entry: PretrainedWeights, file: str, revision: str, target: Path) -> None:
    """One file; `hf_hub_download` throws a partial file away, this resumes where it stopped."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    target.parent.mkdir(parents=True, exist_ok=True)
    with _explained(name, entry):
        url = hf_hub_url(entry.repo, entry.in_repo(file), revision=revision)
        found = get_hf_file_metadata(url)
        # Named by content, so that the half of another version is never continued.
        part = target.with_name(f".{target.name}.{(found.etag or revision)[:16]}.part")
        part.touch()
        with part.open("r+b") as out:
            done = out.seek(0, os.SEEK_END)
            if found.size is not None and done > found.size:
                done = out.truncate(0)
                out.seek(0)
            http_get(
                found.location,
                out,
                resume_size=done,
                headers=build_hf_headers(),
                expected_size=found.size,
                displayed_filename=file,
            )
    part.replace(target)


def _copy(name: str, entry: PretrainedWeights, file: str, source: str, target: Path) -> None:
    parsed = urlparse(source)
    root = Path(unquote(parsed.path)) if parsed.scheme == "file" else Path(source).expanduser()
    places = [
        root / entry.repo / entry.in_repo(file),
        root / name / file,
        root / name / target.name,
    ]
    for place in places:
        if place.is_file():
            break
    else:
        raise WeightsError(f"{name}: {root} holds neither {places[0].relative_to(root)} nor "
                           f"{places[1].relative_to(root)}")  # fmt: skip
    with _explained(name, entry), Store(str(target.parent)).writing(target.name) as path:
        shutil.copyfile(place, path)


@contextmanager
def _explained(name: str, entry: PretrainedWeights) -> Iterator[None]:
    """The hub's and the disk's errors as one sentence that names the weights."""
    from huggingface_hub import errors

    where = f"{name} ({entry.repo or entry.manual})"
    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise WeightsError(
            f"{where}: the hub has no such repository or revision {entry.revision!r}, or it asks "
            "for a login (`hf auth login`)"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise WeightsError(f"{where}: the repository lacks a file: {error}") from error
    except (errors.HTTPError, errors.XetDownloadError, errors.LocalEntryNotFoundError) as error:
        raise WeightsError(
            f"{where}: the hub can't be reached ({error}): check the network, name a mirror in "
            "HF_ENDPOINT, or give a folder with --from"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise WeightsError(
            f"{where}: the disk is full; free some space, or choose another folder with --to"
        ) from error
