"""The marks of a generated mp4: C2PA content credentials, and a comment in its metadata.

Both name the networks, their licence and the sha256 of the sidecar. The credentials are signed, and
bind every byte of pictures and sound; the comment is for players, and for tools without C2PA.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.inference.credentials import Credentials, credentials
from paha_core.local_files import published, unpublished
from paha_core.media.encode import with_comment
from paha_core.media.ffmpeg import MediaError
from paha_core.media.probe import read_comment
from paha_core.weights.licences import parts_of, summary

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
ASSERTION = "org.paha.generation"
UNVOUCHED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Mark:
    """The content of a video's marks. `sidecar_sha256` is empty in a stream, which is watched
    before its sidecar is complete."""

    generator: str
    model: str
    univdm_sha256: str
    licence: str
    sidecar_sha256: str = ""


def mark_of(preset: Preset, networks: dict[str, Any], sidecar: bytes = b"") -> Mark:
    """The mark of a video by those `networks`, whose sidecar is that file."""
    return Mark(
        f"PAHA {version('paha')}: this video is generated",
        preset.name,
        str(networks["univdm"]["sha256"]),
        summary(parts_of(preset)),
        hashlib.sha256(sidecar).hexdigest() if sidecar else "",
    )


def comment_of(mark: Mark) -> str:
    """The comment in the mp4's metadata."""
    return json.dumps({name: value for name, value in asdict(mark).items() if value})


def mark_video(path: Path, out: Path, mark: Mark, used: Credentials | None = None) -> None:
    """Write the mp4 `path` as `out` with both marks. Pictures and sound are copied, not encoded
    again; the bytes differ each time, since a claim has an id of its own."""
    import c2pa

    manifest = {
        "claim_generator_info": [{"name": "PAHA", "version": version("paha")}],
        "title": "Generated video",
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": GENERATED}]},
            },
            {"label": ASSERTION, "data": asdict(mark)},
        ],
    }
    with unpublished(out) as commented, published(out) as signed:
        with_comment(path, commented, comment_of(mark))
        with (used or credentials()).signer() as signer, c2pa.Builder(manifest) as builder:
            try:
                with commented.open("rb") as source, signed.open("w+b") as target:
                    builder.sign(signer, "video/mp4", source, target)
            except c2pa.C2paError as error:
                raise UserError(f"the video can't be signed: {error}") from error


@dataclass(frozen=True)
class Inspection:
    """The marks of a file.

    Attributes:
        state: `valid` (signed and unchanged), `changed` (since it was signed), `unsigned`.
        signed_by: the certificate's name. Whether to trust it is up to the user: no list of
        authorities is built in. claim: the signed mark. comment: the mark in the metadata. sidecar:
        the file whose sha256 the mark names; None where it is not beside the video. problems: in
        words; empty for a video that is marked, unchanged and has its sidecar.
    """

    state: str
    signed_by: str = ""
    claim: dict[str, Any] = field(default_factory=dict)
    comment: dict[str, Any] = field(default_factory=dict)
    sidecar: Path | None = None
    problems: tuple[str, ...] = ()


def inspect_video(path: Path) -> Inspection:
    """Read and verify the marks of an mp4, and find its sidecar. Raises `FileNotFoundError`, or
    `MediaError` for a file that is not a video."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    comment = _object(read_comment(path))
    report = _report(path)
    problems = []
    if report is None:
        state, manifest = "unsigned", {}
        problems.append("it carries no content credentials")
    else:
        manifest = report["manifests"][report["active_manifest"]]
        failures = [s for s in report.get("validation_status", []) if s["code"] != UNVOUCHED]
        state = "changed" if failures else "valid"
        problems += [str(s.get("explanation") or s["code"]) for s in failures]
    claims = [a["data"] for a in manifest.get("assertions", []) if a["label"] == ASSERTION]
    claim = claims[0] if claims else {}
    if report is not None and not claim:
        problems.append("its content credentials are not PAHA's")
    if claim and comment != {name: value for name, value in claim.items() if value}:
        problems.append("its comment contradicts its credentials")
    wanted = (claim or comment).get("sidecar_sha256", "")
    sidecar = find_sidecar(path, wanted)
    if wanted and sidecar is None:
        problems.append("its sidecar is not beside it, or was changed")
    signature = manifest.get("signature_info", {})
    return Inspection(
        state,
        str(signature.get("common_name") or signature.get("issuer") or ""),
        claim,
        comment,
        sidecar,
        tuple(problems),
    )


def find_sidecar(video: Path, sha256: str) -> Path | None:
    """The json in the video's folder that has that hash: the one with the video's own name, or
    else any, since either may have been renamed."""
    own = video.with_suffix(".json")
    others = sorted(path for path in video.absolute().parent.glob("*.json") if path != own)
    for path in (own, *others) if sha256 else ():
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
    return None


def is_unchanged(video: Path, sidecar: Path) -> bool:
    """Whether a marked video is as it was written, and `sidecar` is its own."""
    try:
        found = inspect_video(video)
    except MediaError:
        return False
    return not found.problems and found.sidecar is not None and found.sidecar.samefile(sidecar)


def _report(path: Path) -> dict[str, Any] | None:
    """c2pa's report of a file; None without credentials. No address in the file is fetched."""
    import c2pa

    offline = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    try:
        with c2pa.Context.from_dict(offline) as context, path.open("rb") as file:
            with c2pa.Reader("video/mp4", file, context=context) as reader:
                return dict(json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        raise MediaError(f"{path.name}: its content credentials can't be read") from error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
