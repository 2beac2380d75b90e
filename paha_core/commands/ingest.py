"""`paha ingest`: clips from your own footage, by the functions behind the asset `clips`."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from paha_core.commands.fetch import MAX_REASONS, download_and_show
from paha_core.commands.shared import one_sentence, print_table

if TYPE_CHECKING:
    from paha_core.config import CorporaConfig, CorpusConfig
    from paha_core.engine.manifest_stage import StageResult
    from paha_core.engine.workers import Workers
    from paha_core.store import Store

ingest = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Clips from footage: 25 fps, square, with their audio beside them.

    What can't be used is a row of the manifest (`manifests/clips/` below `--out`) with its reason.
    A second run computes only what is new or changed.
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
    int, typer.Option(min=0, help="Processes; 0: the preset's number, or one per core.")
]
RetryOption = Annotated[
    bool, typer.Option("--retry-rejected", help="Try again to cut rejected clips.")
]
PruneOption = Annotated[
    bool, typer.Option("--prune", help="Remove clips of inputs that are no longer given.")
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Name of the corpus (default: the command's); a store can hold any number.",
    ),
]
CsvOption = Annotated[str, typer.Option(help="PATS's interval csv, in any of its forms; or a URL.")]


@ingest.command()
def pats(
    csv: CsvOption,
    videos: Annotated[str, typer.Option(help="Folder or URL of the source videos.")],
    out: OutOption,
    dataset: NameOption = None,
    split_file: Annotated[
        str | None,
        typer.Option(
            help="S2G's json of ids; without it the csv's column `dataset` is the split, and `dev` "
            "counts as train."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Of another list than PATS's: talkvid, hdtf, …, or a column map's yaml."),
    ] = None,
    split: Annotated[
        Literal["paper", "by_video"] | None,
        typer.Option(help="by_video: no source video in train and in test [paper]."),
    ] = None,
    too_long: Annotated[
        Literal["cut", "reject"] | None,
        typer.Option(help="What to do with intervals over 15 s [cut, as S2G does]."),
    ] = None,
    size: SizeOption = None,
    preset: SettingsOption = "",
    workers: WorkersOption = 0,
    retry_rejected: RetryOption = False,
    prune: PruneOption = False,
) -> None:
    """Clips from an interval csv and its source videos: PATS, and corpora of its form.

    Sources are found by file name or by the YouTube id of their link, and cropped to the square of
    their speaker. With `--split-file` only its ids are cut, and
    `manifests/split_ids/pats.parquet` has a row for each of them. Another csv adds its clips to
    the corpus.

    Examples:

        paha ingest pats --csv cmu_intervals_df.csv --videos videos --out runs/pats

        paha ingest pats --csv cmu_intervals_df.csv --videos s3://bucket/videos \\
            --out s3://bucket/pats --split-file filtered_intervals.json --split by_video

        paha ingest pats --columns talkvid --dataset talkvid --csv clips.json --videos videos \\
            --out runs/talkvid

        paha ingest pats --dataset ted --csv ted.csv --videos ted --out runs/ted --preset ted.yaml
    """
    with one_sentence():
        from paha_core.config import PatsConfig
        from paha_core.corpora.pats_summary import split_ids_path, summary_path

        given = {"csv": csv, "videos": videos, "split_file": split_file}
        given |= {"split": split, "too_long": too_long, "columns": columns}
        name, store = _ingest(
            PatsConfig, dataset, given, size, preset, out, workers, retry_rejected, prune
        )
        typer.echo(f"summary: {store.uri(summary_path(name))}")
        if split_file:
            typer.echo(f"wanted ids: {store.uri(split_ids_path(name))}")


@ingest.command()
def cnas(
    programmes: Annotated[
        str, typer.Option(help="Folder or URL with one folder a speaker, its videos within.")
    ],
    out: OutOption,
    dataset: NameOption = None,
    speaker: Annotated[
        str | None, typer.Option(help="Speaker of all files, wherever below the folder they are.")
    ] = None,
    size: SizeOption = None,
    preset: SettingsOption = "",
    workers: WorkersOption = 0,
    retry_rejected: RetryOption = False,
    prune: PruneOption = False,
) -> None:
    """Clips of 125 frames from long sources of one speaker each: CNAS, and corpora of its form.

    Another folder adds its clips to the corpus; a source is known by its speaker and its name.

    Examples:

        paha ingest cnas --programmes anchors --out runs/cnas

        paha ingest cnas --programmes li_mei_2024 --speaker li_mei --out runs/cnas

    where `anchors/li_mei/evening_news.mp4` is a source of the speaker `li_mei`.
    """
    with one_sentence():
        from paha_core.config import CnasConfig

        given = {"programmes": programmes, "speaker": speaker}
        _ingest(CnasConfig, dataset, given, size, preset, out, workers, retry_rejected, prune)


@ingest.command()
def download(
    csv: CsvOption,
    videos: Annotated[Path, typer.Option(help="Folder that the videos go to.")],
    split_file: Annotated[
        str | None, typer.Option(help="S2G's json: only the videos that its ids need.")
    ] = None,
    speaker: Annotated[
        list[str] | None, typer.Option(help="Only this speaker's videos; repeatable.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Format to download, in yt-dlp's syntax [720p].")
    ] = None,
    cookies: Annotated[Path | None, typer.Option(help="Cookies file (Netscape format).")] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, help="Rate limit in kilobytes a second.")
    ] = None,
    pause: Annotated[
        float | None, typer.Option(min=0, help="Seconds between two videos [2].")
    ] = None,
    retry_gone: Annotated[
        bool,
        typer.Option("--retry-gone", help="Try again to download videos that were gone for good."),
    ] = False,
) -> None:
    """Download source videos from the links in a csv. Needs `pip install paha[download]`.

    A second run continues where the first stopped. Every attempt is a row of
    `downloads.parquet` in the folder. Exit code 3 if a video is missing afterwards.

    Example:

        paha ingest download --csv cmu_intervals_df.csv --videos videos \\
            --split-file filtered_intervals.json --speaker oliver --rate 2000
    """
    with one_sentence():
        from paha_core.corpora.download import DownloadSettings, wanted_videos
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
        if not download_and_show(wanted, videos, settings):
            raise typer.Exit(3)


def _ingest(
    section: type[CorpusConfig],
    dataset: str | None,
    given: dict[str, Any],
    size: int | None,
    preset: str,
    out: str,
    workers: int,
    retry_rejected: bool,
    prune: bool,
) -> tuple[str, Store]:
    """Ingest a corpus of that kind and print its tables; returns its name and its store."""
    from paha_core.corpora.registry import CORPORA, ingest

    kind = section.model_fields["kind"].default
    name = dataset or kind
    base, executor = _settings(preset, workers)
    config = _with(base, size, name, kind, given)
    store = _store(out)
    entry = config.entry(name)
    footage = CORPORA[kind].footage_of(entry, ".")
    result = ingest(
        *(store, config, name, footage),
        workers=executor,
        retry_rejected=retry_rejected,
        prune=prune,
    )
    _show(store, name, result)
    return name, store


def _store(url: str) -> Store:
    """Raises `UserError` when an object store can't be reached, before anything is done."""
    from paha_core.corpora.source_files import asking
    from paha_core.store import Store

    store = Store(url)
    with asking(url):
        store.exists("manifests")
    return store


def _settings(preset: str, workers: int) -> tuple[CorporaConfig | None, Workers]:
    """The preset's corpora, and its executor: the command line's number of processes, else the
    preset's, else one per core."""
    from paha_core.config import load_preset
    from paha_core.engine.workers import cores
    from paha_core.stages.workspace import executor_of

    given = load_preset(preset) if preset else None
    where = executor_of(given) if given else cores()
    return given.corpora if given else None, workers or where


def _with(
    base: CorporaConfig | None, size: int | None, dataset: str, kind: str, given: dict[str, Any]
) -> CorporaConfig:
    """The corpus `dataset` alone: the preset's section, or defaults, with the given options set."""
    from paha_core.config import CorporaConfig, checked

    known = base.settings() if base else {}
    section = known.get(dataset) or {"kind": kind}
    section |= {option: value for option, value in given.items() if value is not None}
    clip = known.get("clip", {}) | ({} if size is None else {"size": size})
    return checked(CorporaConfig, {"clip": clip, dataset: section}, "these settings")


def _show(store: Store, dataset: str, result: StageResult) -> None:
    """Print what was kept of each speaker, why the rest was rejected, and where the manifest and
    the card are."""
    from paha_core.corpora.card import kind, write_card

    rows = result.table.select(["speaker", "status", "split", "frames", "fps"]).to_pylist()
    by_speaker: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_speaker[str(row["speaker"])].append(row)
    table = [_speaker(name, own) for name, own in sorted(by_speaker.items())]
    if len(table) > 1:
        table.append(_speaker("all", rows))
    columns = ("speaker", "rows", "kept", "train", "test", "minutes", "rejected")
    print_table(f"{dataset}: clips", columns, table)
    reasons = result.reasons
    if len(reasons) > MAX_REASONS:  # measured numbers differ from clip to clip
        kinds: Counter[str] = Counter()
        for reason, count in reasons.items():
            kinds[kind(reason)] += count
        reasons = kinds
    if reasons:
        listed = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        print_table(
            f"{dataset}: rejected", ("rows", "reason"), [(str(n), reason) for reason, n in listed]
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
