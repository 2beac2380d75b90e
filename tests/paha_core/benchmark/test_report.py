import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest

from paha_core.benchmark.cells import to_markdown
from paha_core.benchmark.history import Verdict
from paha_core.benchmark.report import facts, showcase, svg
from paha_core.benchmark.report.page import INDEX, build_report, headline, result_table
from paha_core.benchmark.run import load_results, run_benchmark
from paha_core.benchmark.tables.variants import OverlayStore
from paha_core.config import Preset
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.row import MetricRow
from paha_core.store import Store
from synthetic import PixelDetector


@pytest.fixture(scope="module")
def page(run_store: Store, run_preset: Preset) -> str:
    patch = pytest.MonkeyPatch()
    patch.setattr("paha_core.pose.open_detector", lambda config: PixelDetector())
    run_benchmark(run_store, run_preset)
    assert build_report(run_store, run_preset) == INDEX
    patch.undo()
    return run_store.read_bytes(INDEX).decode()


class Tags(HTMLParser):
    """Counts tags and complains about what is not closed."""

    VOID = ("meta", "img", "input", "link", "br", "line", "circle", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_it_needs_no_network_and_no_other_file(page: str) -> None:
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", re.sub(r"base64,[^\"']+", "", page))
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)


def test_it_is_whole_html(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.count["video"] == 4 * 4  # four clips, real and three modes
    assert tags.count["audio"] == 4
    for anchor in re.findall(r'href="#([a-z]+)"', page):
        assert f'id="{anchor}"' in page


def test_the_page_names_what_ran_and_marks_stand_ins(page: str) -> None:
    for text in ("synthetic", "log_mel features", "in place of", "wav2vec2", "drawn presenters"):
        assert text in page
    assert "Printed in the paper, PATS" in page
    assert "2048.75" in page
    assert "needs SyncNet weights" in page
    assert "no face in 40 % of the frames" in page
    assert "No log yet: stage <code>non_face_classifier</code> has not run" in page
    assert page.count('class="firm"') == 3


def test_provenance_holds_the_hashes(page: str, run_store: Store, run_preset: Preset) -> None:
    weights = facts.weights_of(run_store)
    assert {"checkpoints/univdm/model.safetensors"} < {w.path for w in weights}
    for weight in weights:
        assert weight.sha256 in page
    assert facts.preset_sha256(run_preset) in page
    protocol = protocol_of(run_preset)
    assert protocol.sha256 in page
    for name, value in protocol.described().items():
        assert f'<th scope="row">{name}</th><td>{value}</td>' in page


def test_the_page_marks_sync_metrics_and_warns_of_few_clips(page: str) -> None:
    marked = re.findall(r'<th scope="row">([^<&]+)&nbsp;<span[^/]+/span><small>sync<', page)
    assert set(marked) >= {"Beat error, drawn truth", "Lip correlation", "Sync-C"}
    assert not any(title.startswith(("BAS", "FGD")) for title in marked)
    assert "4 clips: intervals over so few" in page


def test_the_tables_are_written_in_every_form(page: str, run_store: Store) -> None:
    _, rows = load_results(run_store)
    text = run_store.read_bytes("report/tables/results.csv").decode()
    lines = list(csv.DictReader(StringIO(text)))
    assert len(lines) == len(rows)
    fvd = next(line for line in lines if line["metric"] == "fvd")
    assert fvd["value"] == ""
    assert "I3D" in fvd["reason"]
    assert run_store.read_table("report/tables/results.parquet").num_rows == len(rows)
    tex = run_store.read_bytes("report/tables/results_all.tex").decode()
    assert tex.count(r"\\") == 1 + len({row.metric for row in rows})
    assert run_store.exists("report/tables/published_table7.tex")
    assert run_store.read_table("report/tables/published.parquet").num_rows == 220


def row(system: str, metric: str, value: float | None, dataset: str = "all") -> MetricRow:
    reason = "" if value is not None else "because"
    bounds = (value, value)
    return MetricRow(
        "main", system, dataset, metric, value, *bounds, 4, "", "up", "x", "", reason=reason
    )


def test_a_missing_cell_carries_its_reason_and_a_tie_has_no_winner() -> None:
    rows = [row("real", "bas", None), row("unguided", "bas", 0.2), row("sequential", "bas", 0.3)]
    rows += [row(s, "face_share", 1.0) for s in ("real", "unguided", "sequential")]
    table = result_table(rows, "all")
    lines = {line.title: line for _, group in table.groups for line in group}
    assert [cell.best for cell in lines["BAS"].cells] == [False, False, True]
    assert not any(cell.best for cell in lines["Face found"].cells)
    assert dict(table.footnotes)[lines["BAS"].cells[0].footnote] == "because"
    assert lines["BAS"].paper[2][0] == "0.1602"


def test_the_size_is_that_of_the_data_sets_own_videos() -> None:
    measured = replace(row("unguided", "bas", 0.2, "pats"), clips=2, frames=114)
    timed = replace(row("unguided", "tc", 0.7, "pats"), clips=6)
    [(_, _, size)] = result_table([measured, timed], "pats").systems
    assert size == "2 clips, 114 frames"


def test_the_sharpest_picture_does_not_win_the_one_most_like_real_does() -> None:
    values = {"real": 100.0, "unguided": 20.0, "sequential": 110.0, "differential": 400.0}
    rows = [
        replace(row(system, "sharpness_face", value), direction="real")
        for system, value in values.items()
    ]
    lines = {x.title: x for _, group in result_table(rows, "all").groups for x in group}
    assert [c.best for c in lines["Sharpness, face"].cells] == [False, False, True, False]


def test_the_headline_is_one_systems_not_the_best_of_each() -> None:
    rows = [row("real", "fgd", 1.0), row("unguided", "fgd", 2.0), row("sequential", "fgd", 3.0)]
    found = headline(rows)
    assert found["title"] == "Sequential guidance"
    assert found["figures"] == [("3.00", "Fréchet gesture distance", "unguided 2.00\nreal 1.00")]
    assert headline(rows[:1]) is None


def test_markdown_for_the_dagster_ui() -> None:
    text = to_markdown([row("real", "bas", 0.5), row("unguided", "bas", None)], ["bas"])
    assert text.splitlines() == [
        "| system | BAS ↑ |",
        "|---|---|",
        "| real | 0.500 [0.500 … 0.500] |",
        "| unguided | – |",
    ]


def test_large_videos_lie_beside_the_page(run_store: Store, run_preset: Preset) -> None:
    players, embedded = showcase.players(run_store, run_preset, limit=1000)
    assert not embedded
    for player in players:
        for source in (player.audio, *(track.source for track in player.tracks)):
            assert run_store.exists(f"report/{source}")
    run_store.remove("report/media")


def test_an_empty_store_names_the_command_to_run(tmp_path: Path, run_preset: Preset) -> None:
    store = Store(str(tmp_path))
    page = store.read_bytes(build_report(store, run_preset)).decode()
    for stage in ("generated_clips", "benchmark", "clips", "keypoints", "univdm"):
        assert f"stage <code>{stage}</code> has not run" in page


def test_before_generation_it_shows_the_data(data_store: Store, run_preset: Preset) -> None:
    page = data_store.read_bytes(build_report(data_store, run_preset)).decode()
    assert "largest weight" in page
    assert "oliver" in page
    assert "<video" not in page


def test_long_video_is_shown_where_it_was_measured(
    data_store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    store = OverlayStore(str(tmp_path), data_store.url)
    figures_of = {"drift, worst second": 1.17, "ratio": 1.36, "seams above p99": 0.028, "MiB": 781}
    store.write_json(
        facts.LONG_VIDEO, [{"case": "sliding_window unguided", "seconds": 60} | figures_of]
    )
    page = store.read_bytes(build_report(store, run_preset)).decode()
    assert "sliding window unguided" in page
    assert "2.8 %" in page
    assert 'id="long"' not in data_store.read_bytes(build_report(data_store, run_preset)).decode()


def test_names_in_the_data_are_escaped(run_preset: Preset) -> None:
    from paha_core.benchmark.report.page import render

    lists = (
        "stand_ins",
        "forced",
        "tables",
        "strips",
        "overlays",
        "curves",
        "published",
        "extractors",
    )
    page: dict = {name: [] for name in lists}
    page |= dict.fromkeys(("preset_sha256", "preset_yaml", "fingerprint"), "")
    page["protocol"] = protocol_of(run_preset)
    lists = ("controls", "suites", "shifts", "trends", "long_video")
    page |= {name: [] for name in lists} | {"radar": None, "verdict": Verdict("", "", [], 0)}
    page |= {"titles": {}, "study": None, "study_paper": {}, "licences": [], "licence_summary": ""}
    page |= {"preset": run_preset, "headline": None, "embedded": True, "weights": [], "cards": []}
    page["players"] = [showcase.Player("<script>bad</script>", 1.0, "", [])]
    assert "<script>bad" not in render(page)


def test_a_log_cut_off_by_a_kill_still_plots(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    whole = b'{"step": 1, "loss": 2.0}\n{"step": 2, "loss": NaN}\n{"step": 3, "loss": 1.0}\n{"ste'
    store.write_bytes("checkpoints/univdm/log.jsonl", whole)
    curve = facts.training_curves(store)["univdm"]
    assert [step for step, _ in curve.loss] == [1, 2, 3]
    assert "nan" not in svg.curve_svg(curve).lower()


def test_guidance_that_was_forced_is_named(tmp_path: Path, run_preset: Preset) -> None:
    from paha_core.engine.manifest_files import manifest_path
    from paha_core.inference.held_out import GENERATED_SCHEMA

    store = Store(str(tmp_path))
    assert facts.forced_guidance(store, run_preset) == []
    row = dict.fromkeys(GENERATED_SCHEMA.names) | {"gates_failed": "face_classifier"}
    table = pa.Table.from_pylist([row], schema=GENERATED_SCHEMA)
    store.write_table(manifest_path("generated_clips", "sequential"), table)
    assert facts.forced_guidance(store, run_preset) == ["face_classifier"]
    build_report(store, run_preset)
    assert "did not pass the audio-swap gate" in store.read_bytes(INDEX).decode()
