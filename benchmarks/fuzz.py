"""Damage small files at random, and read them: nothing but the readers' own errors may come out.

    python benchmarks/fuzz.py --seconds 120
    python benchmarks/fuzz.py --target table --atheris     # coverage-guided: pip install paha[fuzz]

Every reader of strangers' files is a target: tables, split files, times, pictures, sound, video.
What breaks one is kept as a file named after its error, with the traceback beside it; a file that
ends the process is kept as `last.bin`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path

import numpy as np


def instrumented() -> AbstractContextManager[object]:
    """Inside it, imported code counts its coverage for libFuzzer, where that is asked for."""
    if "--atheris" not in sys.argv:
        return nullcontext()
    import atheris

    return atheris.instrument_imports(include=["paha_core", "PIL"])


with instrumented():
    from PIL import Image

    from paha_core.corpora.intervals import parse_seconds, read_intervals, read_split
    from paha_core.engine.manifest_stage import Rejection
    from paha_core.errors import UserError
    from paha_core.media.audio import read_audio
    from paha_core.media.encode import write_video
    from paha_core.media.ffmpeg import MediaError
    from paha_core.media.picture import read_picture
    from paha_core.media.probe import probe
    from paha_core.media.video import iter_frames
    from paha_core.tables import read_rows

ALLOWED = (UserError, Rejection, MediaError)
Reader = Callable[[bytes, Path], object]

CSV = (
    "speaker,video_fn,interval_id,start_time,end_time,dataset,video_link\r\n"
    "oliver,a.mp4,cmu0000000001,0:00:01.5,0:00:09,train,https://www.youtube.com/watch?v=abcdefghijk\r\n"
    '"jon","b, c.mp4",2,12.5,"19,5",test,\r\n'
)
PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF")
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
SPLIT = '{"train": [1, "cmu0000000002"], "test": [3.0]}'


def _as_file(reader: Callable[[Path], object], name: str) -> Reader:
    def read(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return reader(path)

    return read


def _video(path: Path) -> object:
    return probe(path), sum(1 for _ in zip(iter_frames(path), range(30), strict=False))


TARGETS: dict[str, Reader] = {
    "table": lambda data, folder: read_rows(data, "t.csv"),
    "intervals": _as_file(lambda path: read_intervals(path, need_dataset=False), "t.csv"),
    "split": _as_file(read_split, "t.json"),
    "time": lambda data, folder: parse_seconds(data.decode("utf-8", "replace")),
    "picture": lambda data, folder: read_picture(data),
    "video": _as_file(_video, "v.bin"),
    "audio": _as_file(read_audio, "a.bin"),
}


def seeds(name: str, folder: Path) -> list[bytes]:
    """Good files for a target, small ones, made here."""
    match name:
        case "table" | "intervals":
            encodings = ("utf-8", "utf-16", "gbk", "utf-8-sig")
            tables = [CSV.encode(encoding) for encoding in encodings]
            return tables + [CSV.replace(",", mark).encode() for mark in ";\t|"]
        case "split":
            return [SPLIT.encode(), SPLIT.encode("utf-16")]
        case "time":
            return [b"0:06:56.5", b"2020-01-01 01:02:03", b"0 days 00:06:56", b"12,5"]
        case "picture":
            return [_picture(form) for form in PICTURES]
    frames = np.repeat(PIXELS[None], 6, axis=0)
    wave = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    videos = []
    for suffix in (".mp4", ".mkv", ".avi", ".ts"):
        path = folder / f"seed{suffix}"
        write_video(path, frames, wave=wave, sample_rate=16000)
        videos.append(path.read_bytes())
    return videos


def _picture(form: str) -> bytes:
    sink = BytesIO()
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x0112] = 6  # turned
    image.save(sink, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}))
    return sink.getvalue()


def damaged(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """`data` after one to four kinds of damage: bytes changed, cut out, doubled, taken over."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not found:
            break
        at = rng.randrange(len(found))
        length = min(len(found) - at, rng.choice((1, 2, 4, 16, 256)))
        match rng.randrange(6):
            case 0:
                found[at : at + length] = rng.randbytes(length)
            case 1:
                found[at] ^= 1 << rng.randrange(8)
            case 2:
                del found[at : at + length]
            case 3:
                found[at:at] = found[at : at + length] * rng.choice((1, 2, 50))
            case 4:
                del found[at:]
            case _:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                found[at : at + length] = other[start : start + length]
    return bytes(found)


def run(names: list[str], seconds: float, out: Path, seed: int) -> Counter[str]:
    """Read damaged files for so long; returns how often each error came that is none of ours."""
    rng, found, tried = random.Random(seed), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        good = {name: seeds(name, folder) for name in names}
        until = time.process_time() + seconds
        while time.process_time() < until:
            name = rng.choice(names)
            data = damaged(rng.choice(good[name]), rng, good[name])
            (out / "last.bin").write_bytes(data)
            tried[name] += 1
            if error := broken_by(TARGETS[name], data, folder):
                place = traceback.extract_tb(error.__traceback__)[-1]
                key = f"{name}_{type(error).__name__}_{Path(place.filename).stem}_{place.lineno}"
                found[key] += 1
                if found[key] == 1:
                    (out / f"{key}.bin").write_bytes(data)
                    (out / f"{key}.txt").write_text("".join(traceback.format_exception(error)))
                    print(f"{key}: {error}", flush=True)
    print(", ".join(f"{name} {count}" for name, count in sorted(tried.items())))
    return found


def broken_by(reader: Reader, data: bytes, folder: Path) -> Exception | None:
    """What `reader` raises that is no error of its own."""
    try:
        reader(data, folder)
    except ALLOWED:
        return None
    except Exception as error:
        return error
    return None


def run_atheris(name: str) -> None:
    """Coverage-guided, without an end (Ctrl-C, or libFuzzer's `-max_total_time`)."""
    import atheris

    folder = Path(tempfile.mkdtemp())

    def once(data: bytes) -> None:
        if error := broken_by(TARGETS[name], data, folder):
            raise error

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds(name, folder)):
        (corpus / f"{number}.bin").write_bytes(data)
    atheris.Setup([sys.argv[0], str(corpus), "-max_total_time=300"], once)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", nargs="*", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="of CPU time of this process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="for what breaks them")
    parser.add_argument("--atheris", action="store_true", help="coverage-guided, the first target")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.atheris:
        run_atheris(given.target[0])
    found = run(given.target, given.seconds, given.out, given.seed)
    sys.exit(f"{len(found)} kinds of errors in {given.out}" if found else 0)


if __name__ == "__main__":
    main()
