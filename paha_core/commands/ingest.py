"""`paha ingest`: clips from footage of one's own, by the functions behind the asset `clips`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from paha_core.commands.shared import one_sentence, print_table

if TYPE_CHECKING:
    from paha_core.config import CorporaConfig
    from paha_core.engine.manifest_stage import StageResult
    from paha_core.engine.workers import Workers
    from paha_core.store import Store

MANY = 20  # reasons in a table

ingest = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Clips from footage: 25 fps, square, with their audio beside them.

    What can't be used is a row with its reason in the manifest (`manifests/clips/` below `--out`).
    A second run touches only what is new or changed.
    """,
)

OutOption = Annotated[
    str, typer.Option(help="Folder or URL (`s3://bucket/run`) that clips and manifests go to.")
]
SettingsOption = Annotated[
    str, typer.Option("--preset", "-p", help="Take all other settings from this preset.")
]
SizeOption = Annotated[
    int | None, typer.Option(help="Side of the clips in pixels, even [512, or the preset's].")
]
WorkersOption = Annotated[
    int, typer.Option(min=0, help="Processes; 0: as the preset says, or one per core.")
]
RetryOption = Annotated[
    bool, typer.Option("--retry-rejected", help="Try once more what was rejected before.")
]
PruneOption = Annotated[
    bool, typer.Option("--prune", help="Remove the clips of inputs that are not given any more.")
]
CsvOption = Annotated[str, typer.Option(help="PATS's interval csv, in any of its forms; or a URL.")]


@ingest.command()
def pats(
    csv: CsvOption,
    videos: Annotated[str, typer.Option(help="Folder or URL of the source videos.")],
    out: OutOption,
    split_file: Annotated[
        str | None,
        typer.Option(
            help="S2G's json of ids; else the csv's column `dataset` says the split, and its `dev` "
            "counts as train."
        ),
    ] = None,
    split: Annotated[
        Literal["paper", "by_video"] | None,
        typer.Option(help="by_video: no source video on both sides [paper]."),
    ] = None,
    too_long: Annotated[
        Literal["cut", "reject"] | None,
        typer.Option(help="What becomes of intervals over 15 s [cut, as S2G does]."),
    ] = None,
    size: SizeOption = None,
    preset: SettingsOption = "",
    workers: WorkersOption = 0,
    retry_rejected: RetryOption = False,
    prune: PruneOption = False,
) -> None:
    """Clips of PATS from its interval csv and the source videos.

    Sources are found by file name or by the YouTube id of their link, and cropped to the square of
    their speaker. With `--split-file` only its ids are cut, and
    `manifests/split_ids/pats.parquet` says what became of each of them. Another csv adds its clips
    to those that are there.

    Examples:

        paha ingest pats --csv cmu_intervals_df.csv --videos videos --out runs/pats

        paha ingest pats --csv cmu_intervals_df.csv --videos s3://bucket/videos \\
            --out s3://bucket/pats --split-file filtered_intervals.json --split by_video
    """
    with one_sentence():
        from paha_core.corpora.pats import ingest_pats
        from paha_core.corpora.pats_summary import SPLIT_IDS, SUMMARY

        base, where = _settings(preset, workers)
        given = {"csv": csv, "videos": videos, "split_file": split_file}
        config = _with(base, size, "pats", given | {"split": split, "too_long": too_long})
        store = _store(out)
        result = ingest_pats(
            *(store, config, csv, videos),
            workers=where,
            retry_rejected=retry_rejected,
            prune=prune,
        )
        _show(store, "pats", result)
        typer.echo(f"summary: {store.uri(SUMMARY)}")
        if split_file:
            typer.echo(f"wanted ids: {store.uri(SPLIT_IDS)}")


@ingest.command()
def cnas(
    programmes: Annotated[
        str, typer.Option(help="Folder or URL with one folder a speaker, its videos within.")
    ],
    out: OutOption,
    speaker: Annotated[
        str | None, typer.Option(help="Of all files, wherever below the folder they lie.")
    ] = None,
    size: SizeOption = None,
    preset: SettingsOption = "",
    workers: WorkersOption = 0,
    retry_rejected: RetryOption = False,
    prune: PruneOption = False,
) -> None:
    """A data set of CNAS's form from raw programmes: clips of 125 frames of one anchor.

    Another folder adds its clips to those that are there; a programme is known by its speaker and
    its name.

    Examples:

        paha ingest cnas --programmes anchors --out runs/cnas

        paha ingest cnas --programmes li_mei_2024 --speaker li_mei --out runs/cnas

    where `anchors/li_mei/evening_news.mp4` is a programme of the speaker `li_mei`.
    """
    with one_sentence():
        from paha_core.corpora.cnas import ingest_cnas

        base, where = _settings(preset, workers)
        config = _with(base, size, "cnas", {"programmes": programmes, "speaker": speaker})
        store = _store(out)
        result = ingest_cnas(
            *(store, config, programmes),
            workers=where,
            retry_rejected=retry_rejected,
            prune=prune,
        )
        _show(store, "cnas", result)


@ingest.command()
def download(
    csv: CsvOption,
    videos: Annotated[Path, typer.Option(help="Folder that the videos go to.")],
    split_file: Annotated[
        str | None, typer.Option(help="S2G's json: only the videos that its ids need.")
    ] = None,
    speaker: Annotated[list[str] | None, typer.Option(help="Only theirs; repeatable.")] = None,
    format: Annotated[
        str | None, typer.Option(help="Which of a video's formats, in yt-dlp's language [720p].")
    ] = None,
    cookies: Annotated[Path | None, typer.Option(help="Cookies file (Netscape format).")] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, help="At most this many kilobytes a second.")
    ] = None,
    pause: Annotated[
        float | None, typer.Option(min=0, help="Seconds between two videos [2].")
    ] = None,
    retry_gone: Annotated[
        bool, typer.Option("--retry-gone", help="Ask again for what was gone for good.")
    ] = False,
) -> None:
    """The source videos of PATS from the links in its csv. Needs `pip install paha[download]`.

    A second run goes on where the first stopped. Every attempt is a row of
    `downloads.parquet` in the folder. Exit code 3 if a video is missing afterwards.

    Example:

        paha ingest download --csv cmu_intervals_df.csv --videos videos \\
            --split-file filtered_intervals.json --speaker oliver --rate 2000
    """
    with one_sentence():
        from paha_core.corpora.download import (
            LEDGER,
            DownloadSettings,
            download_videos,
            wanted_videos,
        )
        from paha_core.corpora.intervals import read_intervals, read_split

        ids = set(read_split(split_file)) if split_file else None
        intervals = read_intervals(csv, need_dataset=False)
        wanted = wanted_videos(intervals, ids, set(speaker) if speaker else None)
        given: dict[str, Any] = {
            "format": format,
            "bytes_per_second": rate * 1000 if rate else None,
            "pause": pause,
            "cookies": cookies,
            "retry_gone": retry_gone,
        }
        settings = DownloadSettings(**{k: v for k, v in given.items() if v is not None})
        result = download_videos(wanted, videos, settings)
        outcomes = Counter({"there before": result.here, "left, gone for good": result.left})
        outcomes.update(row["outcome"] for row in result.attempts)
        counts = [(words, str(count)) for words, count in outcomes.items() if count]
        print_table(f"{len(wanted)} videos", ("outcome", "videos"), counts)
        reasons = Counter(row["reason"] for row in result.attempts if row["reason"])
        if reasons:
            listed = [(str(count), words) for words, count in reasons.most_common(20)]
            print_table("not downloaded", ("videos", "reason"), listed)
        typer.echo(f"ledger: {videos / LEDGER}")
        if result.here + result.count("downloaded") < len(wanted):
            raise typer.Exit(3)


def _store(url: str) -> Store:
    """Raises `UserError` when an object store can't be asked, before anything is done."""
    from paha_core.corpora.source_files import asking
    from paha_core.store import Store

    store = Store(url)
    with asking(url):
        store.exists("manifests")
    return store


def _settings(preset: str, workers: int) -> tuple[CorporaConfig | None, Workers]:
    """The preset's corpora, and where its work runs: as the command line says, or else the preset,
    or else on all cores."""
    from paha_core.config import load_preset
    from paha_core.engine.workers import cores
    from paha_core.stages.workspace import executor_of

    given = load_preset(preset) if preset else None
    where = executor_of(given) if given else cores()
    return given.corpora if given else None, workers or where


def _with(
    base: CorporaConfig | None, size: int | None, dataset: str, given: dict[str, Any]
) -> CorporaConfig:
    """`base`, or defaults, of this one data set, with what the command line says put in."""
    from paha_core.config import CorporaConfig, checked

    there = base.settings() if base else {}
    section = (there.get(dataset) or {}) | {k: v for k, v in given.items() if v is not None}
    clip = there.get("clip", {}) | ({} if size is None else {"size": size})
    return checked(CorporaConfig, {"clip": clip, dataset: section}, "these settings")


def _show(store: Store, dataset: str, result: StageResult) -> None:
    """What was kept of each speaker, why the rest was rejected, the stage's own figures, and where
    to read on."""
    from paha_core.corpora.card import kind, write_card

    rows = result.table.to_pylist()
    speakers = sorted({str(row["speaker"]) for row in rows})
    table = [_speaker(name, [r for r in rows if r["speaker"] == name]) for name in speakers]
    if len(table) > 1:
        table.append(_speaker("all", rows))
    columns = ("speaker", "rows", "kept", "train", "test", "minutes", "rejected")
    print_table(f"{dataset}: clips", columns, table)
    reasons = result.reasons
    if len(reasons) > MANY:  # measured numbers differ from clip to clip
        kinds: Counter[str] = Counter()
        for words, count in reasons.items():
            kinds[kind(words)] += count
        reasons = kinds
    if reasons:
        listed = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        print_table(
            f"{dataset}: rejected", ("rows", "reason"), [(str(n), words) for words, n in listed]
        )
    if result.figures:
        counts = [(name, f"{value:g}") for name, value in result.figures.items()]
        print_table(f"{dataset}: summary", ("what", "count"), counts)
    typer.echo(f"{result.computed} computed, {result.reused} reused")
    typer.echo(f"manifest: {store.uri(f'manifests/clips/{dataset}')}")
    typer.echo(f"data set card: {store.uri(write_card(store, dataset))}")


def _speaker(name: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    kept = [row for row in rows if row["status"] == "kept"]
    sides = Counter(row["split"] for row in kept)
    minutes = sum(row["frames"] / row["fps"] for row in kept) / 60
    counts = (len(rows), len(kept), sides["train"], sides["test"])
    return (name, *map(str, counts), f"{minutes:.1f}", str(len(rows) - len(kept)))
