"""Tables as run: verdicts, what each data set is held against, plots, and all their forms."""

import csv
import re
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest

from paha_core.benchmark import history
from paha_core.benchmark.report import table_plots
from paha_core.benchmark.report.svg import Series, line_svg, radar_svg, standalone
from paha_core.benchmark.report.trends import trend_markdown, trends
from paha_core.benchmark.tables import export as suite_export
from paha_core.benchmark.tables.grid import about, grids
from paha_core.benchmark.tables.run import _write, load_suite
from paha_core.commands import benchmark as command
from paha_core.metrics.row import MetricRow
from paha_core.store import Store
from synthetic import made_up_table, preset


def test_claims_follow_the_sign_and_time_is_decided_by_repeats() -> None:
    cells = {(c.system, c.dataset, c.metric): c for c in made_up_table(2).comparisons}
    assert cells["SG 50 %", "all", "bas"].verdict == "reproduced"  # up, as the paper's
    assert cells["SG 50 %", "all", "lip_correlation"].verdict == "not reproduced"
    assert cells["SG 50 %", "pats", "bas"].verdict == "undecided"  # four clips
    assert cells["SG 50 %", "all", "fgd"].verdict == "missing"
    assert cells["SG 50 %", "all", "tc"].verdict == "reproduced"
    assert cells["SG 50 %", "all", "tc"].difference == pytest.approx(2)
    few = {(c.system, c.dataset, c.metric): c for c in made_up_table(2, repeats=5).comparisons}
    assert few["SG 50 %", "all", "tc"].verdict == "undecided"


def test_each_data_set_is_beside_its_own_published_column() -> None:
    blocks = {grid.dataset: grid for grid in grids(made_up_table(1))}
    assert list(blocks) == ["all", "pats", "cnas"]
    assert blocks["cnas"].title == "CNAS, beside the paper's CNAS"
    for dataset, printed in (("all", "0.1561"), ("pats", "0.1561"), ("cnas", "0.1241")):
        rows = dict(blocks[dataset].rows)
        at = [column.metric for column in blocks[dataset].columns].index("bas")
        assert rows["PAHA-SG"][at].paper == printed
        assert rows["real"][at].paper == ""
    heads = [column.head for column in blocks["pats"].columns]
    assert "Lip correlation ↑, in place of Sync-C" in heads
    assert any("FVD: needs I3D" in words for words in blocks["pats"].missing)
    two = {grid.dataset: grid for grid in grids(made_up_table(2))}
    assert two["cnas"].paper_dataset == "pats"  # the paper has table 2 on PATS alone


def test_a_table_names_what_it_rests_on() -> None:
    words = about(made_up_table(6))
    assert "8 clips, 3 seeds each; against 0.10" in words
    assert "lambda_face 5, lambda_non_face 5, lambda_diff 0.25" in words
    assert "fewer than 6 clips decide nothing but times" in about(made_up_table(2, clips=4))


def test_a_table_is_written_in_every_form(tmp_path: Path) -> None:
    store, result = Store(str(tmp_path)), made_up_table(2)
    suite_export.write_suite(store, result)
    text = store.read_bytes("report/tables/table2.csv").decode()
    cells = {(c["system"], c["dataset"], c["metric"]): c for c in csv.DictReader(StringIO(text))}
    assert cells["SG 25 %", "pats", "fgd"]["paper"] == "16.790"  # as printed
    assert cells["SG 25 %", "pats", "fgd"]["paper_baseline"] == "17.675"
    found = cells["SG 50 %", "all", "bas"]
    assert float(found["difference_low"]) < float(found["difference"]) < 0.12
    assert (found["claimed"], found["verdict"], found["baseline"]) == ("up", "reproduced", "SG 0 %")
    table = store.read_table("report/tables/table2.parquet")
    assert table.schema == suite_export.CELL_SCHEMA
    assert table.num_rows == len(result.rows)
    tex = store.read_bytes("report/tables/table2.tex").decode()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 3
    assert r"0.612$^{\checkmark}$" in tex or r"$^{\checkmark}$ {\scriptsize (0.1561)}" in tex
    assert r"50 \%" in tex
    markdown = store.read_bytes("report/tables/table2.md").decode()
    assert markdown.startswith("8 clips, 3 seeds each; against SG 0 %")
    assert "paper 0.1561" in markdown
    widths = {line.count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    store, result = Store(str(tmp_path)), made_up_table(5)
    _write(store, preset(), result)
    assert load_suite(store, 5) == result
    stored = store.read_json(result.path) | {"form": 1}
    store.write_json(result.path, stored)
    assert load_suite(store, 5) is None  # of an earlier version


def test_the_report_plots_trade_offs_and_sweeps() -> None:
    plots = {plot.title: plot for plot in table_plots.suite_table(made_up_table(2)).plots}
    trade_off = plots["BAS against time"]
    assert [name for _, name in trade_off.legend] == ["SG", "DG"]
    assert trade_off.svg.count("<circle") == 10
    assert ">100 %</text>" in trade_off.svg
    [bas, lips] = table_plots.suite_table(made_up_table(6)).plots
    assert (bas.title, lips.title) == ("BAS", "Lip correlation")
    assert ">10</text>" in bas.svg  # the lambdas that were used: 2.5 to 12.5
    assert table_plots.suite_table(made_up_table(3)).plots == []


def cell(system: str, metric: str, value: float, direction: str = "up") -> MetricRow:
    bounds = (value - 0.1, value + 0.1)
    return MetricRow("main", system, "all", metric, value, *bounds, 4, "", direction, "x", "")


def test_a_radar_runs_from_the_worst_to_the_best() -> None:
    rows = []
    for k, metric in enumerate(("bas", "diversity", "identity_hog")):
        rows += [cell("sequential", metric, 1.0 + k), cell("differential", metric, 2.0 + k)]
    rows += [cell("sequential", "fgd", 3, "down"), cell("differential", "fgd", 9, "down")]
    css = {name: f"s-{name}" for name in ("sequential", "differential")}
    plot = table_plots.radar(rows, css)
    areas = re.findall(r'class="area" d="M([^"]+)Z"', plot.svg)
    reach = [
        [
            abs(float(p.split(",")[0]) - 210) + abs(float(p.split(",")[1]) - 150)
            for p in area.split("L")
        ]
        for area in areas
    ]
    assert [max(r, 0) > 90 for r in reach[0]] == [True, False, False, False]  # FGD: low is good
    assert [max(r, 0) > 90 for r in reach[1]] == [False, True, True, True]
    assert table_plots.radar([], css) is None
    assert table_plots.radar(rows[:4], css) is None  # two spokes are no radar


def test_shift_curves_come_from_the_gates(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert table_plots.shift_curves(store) == []
    shift = {"shifts": [-2, 0, 2], "logits": [0.1, 1.0, 0.2], "peak": 0}
    store.write_json("checkpoints/face_classifier/gate.json", {"shift": shift})
    [plot] = table_plots.shift_curves(store)
    assert plot.title == "Face classifier"
    assert plot.svg.count("<circle") == 3


def test_trends_need_two_evaluations_and_stand_alone_in_dagster(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for k, name in enumerate("ab"):
        store.write_json("checkpoints/univdm/final/training.json", {"fingerprint": name})
        assert trends(store) == []
        assert trend_markdown(store) == ""
        rows = [cell("unguided", "bas", 1.0 + k), cell("sequential", "bas", 1.2 + k)]
        history.append(store, preset(), rows)
    [plot] = trends(store)
    assert plot.svg.count("<circle") == 4
    picture = ElementTree.fromstring(standalone(plot.svg, plot.legend))
    assert "sequential" in "".join(picture.itertext())
    assert "data:image/svg+xml;base64," in trend_markdown(store)


def test_a_line_plot_keeps_to_its_axes() -> None:
    assert line_svg([], x_title="x", y_title="y") == ""
    points = [(0.0, 1.0), (0.1, 1.1), (10.0, 2.0)]
    labels = ["first", "too near", "far & last"]
    svg = line_svg([Series("a", "s-a", points, labels=labels)], x_title="x", y_title="y", zero=0.0)
    ElementTree.fromstring(svg)
    assert "first" in svg
    assert "too near" not in svg
    assert "far &amp; last" in svg
    flat = line_svg([Series("a", "s-a", [(1.0, 3.0)])], x_title="x", y_title="y")
    assert "nan" not in flat
    assert radar_svg(["one", "two"], [Series("a", "s-a", [(0, 1)])]) == ""


def test_the_shell_shows_cells_verdicts_and_what_they_rest_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command.show(made_up_table(1))
    console = capsys.readouterr().out
    assert "Table 1, CNAS, beside the paper's CNAS" in console
    assert "(0.1241)" in console
    assert "FVD: needs I3D" in console
    assert re.search(r"ALL\s+│ BAS\s+│ \d+\s+│", console)
    assert "8 clips, 3 seeds each; against PAHA-DG" in console
