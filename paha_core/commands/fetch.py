"""`paha corpus fetch`: from a published list to its videos, and a preset that reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paha_core.commands.shared import one_sentence, print_table

if TYPE_CHECKING:
    from paha_core.corpora.download import DownloadSettings, Wanted
    from paha_core.corpora.intervals import PatsInterval

MAX_REASONS = 20  # in a table
S2G_SPEAKERS = "oliver,jon,chemistry,seth"  # the paper's four
PATS_STEPS = """PATS gives its list to those who ask, so two things are yours to bring:

  1. the list of intervals: fill in the form at https://chahuja.com/pats/download.html, read the
     licence there, and take cmu_intervals_df.csv out of what comes:  --list cmu_intervals_df.csv
  2. S2G's split, a json with the lists `train` and `test` of interval ids, for the paper's 4,320
     and 480 clips:  --split-file filtered_intervals.json  (without it: the csv's own column)

Then the same command again. It downloads the videos that the list links to, which belong to their
makers, into {videos}, keeps a ledger of every attempt, and writes {preset}."""
LIST_STEPS = """{title} is not here yet. Take its list from {url}
(licence: {licence}), and name it with --list."""


def fetch(
    corpus: Annotated[
        str, typer.Argument(help="pats, or a list whose columns are known: talkvid, hdtf, …")
    ],
    list_path: Annotated[
        Path | None, typer.Option("--list", help="The list as published; without it: how to get.")
    ] = None,
    speakers: Annotated[
        str | None,
        typer.Option(help=f"Only theirs, with commas between [pats: {S2G_SPEAKERS}]; all: all."),
    ] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="pats: S2G's json; only the videos that its ids need.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of videos, ledger and preset [footage/CORPUS].")
    ] = None,
    base: Annotated[
        str, typer.Option(help="The preset that the written one is laid over.")
    ] = "weights/paper.yaml",
    cookies: Annotated[Path | None, typer.Option(help="Cookies file (Netscape format).")] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, help="At most this many kilobytes a second.")
    ] = None,
    retry_gone: Annotated[
        bool, typer.Option("--retry-gone", help="Ask again for what was gone for good.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Bring the footage of a published corpus: says what you must provide, then does the rest.

    Needs `pip install paha[download]`. A second run continues where the first stopped; exit code 3
    if a video is missing afterwards.

    Examples:

        paha corpus fetch pats                          what to ask for, and where

        paha corpus fetch pats --list cmu_intervals_df.csv --split-file s2g.json

        paha corpus fetch pats --list cmu_intervals_df.csv --speakers oliver,seth

        paha corpus fetch talkvid --list filtered_video_clips.json --speakers 597,12
    """
    with one_sentence():
        from paha_core.corpora.download import DownloadSettings, wanted_videos
        from paha_core.corpora.intervals import read_split

        out = out or Path("footage") / corpus
        if list_path is None:
            typer.echo(_steps(corpus, out))
            raise typer.Exit(0)
        intervals, licence = _read(corpus, list_path, split_file is None)
        ids = set(read_split(split_file)) if split_file else None
        speakers = speakers or (S2G_SPEAKERS if corpus == "pats" else "all")
        names = None if speakers == "all" else {name.strip() for name in speakers.split(",")}
        _require_speakers(names, intervals)
        wanted = wanted_videos((i for i in intervals if not i.problem), ids, names)
        typer.echo(f"{len(wanted)} videos, to {out / 'videos'}; licence: {licence}")
        if not (yes or typer.confirm("Download them under these terms?")):
            raise typer.Exit(0)
        limit = rate * 1000 if rate else None
        settings = DownloadSettings(bytes_per_second=limit, cookies=cookies, retry_gone=retry_gone)
        complete = download_and_show(wanted, out / "videos", settings)
        path = _write_preset(corpus, list_path, split_file, out, base)
        typer.echo(f"wrote {path}: paha preset check {path}, then paha run clips --preset {path}")
        if not complete:
            raise typer.Exit(3)


def download_and_show(wanted: Sequence[Wanted], videos: Path, settings: DownloadSettings) -> bool:
    """Download, print what came of it, and return whether every video is there."""
    from paha_core.corpora.download import LEDGER, download_videos

    result = download_videos(wanted, videos, settings)
    outcomes = Counter({"already there": result.here, "not tried, gone for good": result.left})
    outcomes.update(row["outcome"] for row in result.attempts)
    counts = [(outcome, str(count)) for outcome, count in outcomes.items() if count]
    print_table(f"{len(wanted)} videos", ("outcome", "videos"), counts)
    reasons = Counter(row["reason"] for row in result.attempts if row["reason"])
    if reasons:
        listed = [(str(count), reason) for reason, count in reasons.most_common(MAX_REASONS)]
        print_table("not downloaded", ("videos", "reason"), listed)
    typer.echo(f"ledger: {videos / LEDGER}")
    return result.here + result.count("downloaded") >= len(wanted)


def _steps(corpus: str, out: Path) -> str:
    """What the user must provide. Raises `UserError` for a corpus that nobody knows."""
    from paha_core.config.columns import load_column_map

    if corpus == "pats":
        return PATS_STEPS.format(videos=out / "videos", preset=out / "preset.yaml")
    known = load_column_map(corpus)
    return LIST_STEPS.format(title=known.title, url=known.url, licence=known.licence)


def _read(corpus: str, path: Path, need_dataset: bool) -> tuple[list[PatsInterval], str]:
    """The list's intervals, and the licence."""
    from paha_core.config.columns import load_column_map
    from paha_core.corpora.intervals import read_intervals
    from paha_core.corpora.listed import read_listed

    if corpus == "pats":
        licence = "PATS' own for the list; the videos belong to their makers"
        return read_intervals(path, need_dataset=need_dataset), licence
    known = load_column_map(corpus)
    return read_listed(path, known), known.licence


def _require_speakers(names: set[str] | None, intervals: Sequence[PatsInterval]) -> None:
    """Raises `UserError` for speakers that the list doesn't have."""
    from paha_core.errors import UserError

    listed = {interval.speaker for interval in intervals}
    if unknown := (names or set()) - listed:
        some = ", ".join(sorted(listed)[:20])
        raise UserError(f"the list has no {', '.join(sorted(unknown))}: it has {some}")


def _write_preset(
    corpus: str, list_path: Path, split_file: Path | None, out: Path, base: str
) -> Path:
    """A preset that reads the footage. Its paths are absolute: it may be used from anywhere."""
    import yaml

    from paha_core.local_files import published

    entry: dict[str, Any] = {"csv": str(list_path.absolute())}
    entry["videos"] = str((out / "videos").absolute())
    if split_file:
        entry["split_file"] = str(split_file.absolute())
    is_file = base.endswith((".yaml", ".yml"))
    values = {"base": str(Path(base).absolute()) if is_file else base, "name": corpus}
    path = out / "preset.yaml"
    with published(path) as temporary:
        content = values | {"corpora": {corpus: entry}}
        temporary.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
