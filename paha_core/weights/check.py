"""Which weights a preset needs and lacks, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.store import Store, sha256_file
from paha_core.weights.fetch import read_lock
from paha_core.weights.manifest import PretrainedWeights, manifest

# A table generates and measures videos, and table 3 trains networks of its own.
READ_BY_A_TABLE = {"univdm", "generated_clips", "benchmark"}
_VERIFIED = ".verified.json"  # sizes and times of files whose hash was checked


def problems(preset: Preset, stage: str | None = None) -> list[str]:
    """One sentence for each of the preset's weights that is missing or changed; empty when all is
    well. `stage`: only what that stage, or that table, reads."""
    stages = READ_BY_A_TABLE if (stage or "").startswith("table") else {stage}
    found = []
    for name, entry in manifest().weights.items():
        value = entry.value_in(preset)
        if value is None or (stage is not None and stages.isdisjoint(entry.stages)):
            continue
        problem = _problem(name, entry, value) or _unpinned(entry, preset, Path(value))
        if problem:
            found.append(problem)
    return found


def require(preset: Preset, stages: Iterable[str]) -> None:
    """Raise `UserError` that names the weights which these stages lack and the commands that fetch
    them."""
    found = dict.fromkeys(problem for stage in stages for problem in problems(preset, stage))
    if found:
        raise UserError("; ".join(found))


def _problem(name: str, entry: PretrainedWeights, value: str) -> str:
    place = Path(value).expanduser()
    remedy = f"fetch it with `paha weights fetch paper --only {name}`, or name your own"
    if (entry.gives == "file" and "://" in value) or _is_cached(value):
        return ""
    if not (place.is_dir() if entry.gives == "folder" else place.is_file()):
        return f"{entry.key} names {value}, which is not here ({entry.title}): {remedy}"
    if changed := _changed(place if place.is_dir() else place.parent):
        return (
            f"{entry.key}: {changed} is not the file that was fetched: remove it, then "
            f"`paha weights fetch paper --only {name}`"
        )
    return ""


def _unpinned(entry: PretrainedWeights, preset: Preset, folder: Path) -> str:
    """What differs from the section's `revision` and `sha256`; empty where nothing does."""
    section = entry.section_in(preset)
    if section is None or not folder.is_dir():
        return ""
    fetched = read_lock(folder.parent).get(folder.name, {}).get("revision")
    if section.revision and fetched not in (None, "", "local", section.revision):
        return f"{entry.key}: {folder} is of revision {fetched[:12]}, not {section.revision[:12]}"
    if section.sha256:
        for path in sorted(folder.rglob("*")):
            is_weights = path.suffix in (".safetensors", ".bin", ".pt", ".pth")
            if is_weights and _stamped_sha256(path) == section.sha256:
                return ""
        return f"{entry.key}: no weights in {folder} have sha256 {section.sha256[:12]}…"
    return ""


def _is_cached(value: str) -> bool:
    """Whether `value` is a hub id that the user's hub cache holds."""
    if value.count("/") != 1 or value.startswith((".", "/", "~")):
        return False
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(value, "config.json"), str)


def _changed(folder: Path) -> str:
    """The first file of a fetched folder whose bytes are not the recorded ones; empty if none."""
    files = read_lock(folder.parent).get(folder.name, {}).get("files", {})
    for file, recorded in files.items():
        path = folder / file if (folder / file).is_file() else folder / Path(file).name
        if not path.is_file() or _stamped_sha256(path) != recorded["sha256"]:
            return str(path)
    return ""


def _stamped_sha256(path: Path) -> str:
    """A file's sha256. It is hashed once; after that its size and time are compared."""
    store = Store(str(path.parent.absolute()))
    stamps = store.read_json(_VERIFIED) if store.exists(_VERIFIED) else {}
    stamp = [path.stat().st_size, path.stat().st_mtime_ns]
    known = stamps.get(path.name)
    if known and known[:2] == stamp:
        return str(known[2])
    sha256 = sha256_file(path)
    with suppress(PermissionError):  # weights in a folder that is read only are hashed each time
        store.write_json(_VERIFIED, stamps | {path.name: [*stamp, sha256]})
    return sha256
