"""The paper's tables: their data, their verdicts, stores laid over stores, and a whole tiny run."""

import pickle
from pathlib import Path

import pytest

from paha_core.benchmark.tables.claims import Comparison, compare, verdict_of
from paha_core.benchmark.tables.published import PUBLISHED
from paha_core.benchmark.tables.run import run_suite
from paha_core.benchmark.tables.specs import SUITES, SuiteRow, require_distinct
from paha_core.benchmark.tables.variants import OverlayStore, derived, variant_name
from paha_core.config import Preset, PresetError, load_preset, preset_names
from paha_core.errors import StageError
from paha_core.metrics.bootstrap import PairedDifference, each_resample, paired_statistic
from paha_core.metrics.protocol import protocol_of
from paha_core.store import Store
from paha_core.training.tasks.pose_autoencoder import pose_window


def test_rows_are_the_papers_and_table_4_has_its_place() -> None:
    assert list(SUITES) == [1, 2, 3, 5, 6, 7]
    for number, suite in SUITES.items():
        names = [*suite.others, *(row.name for row in suite.rows)]
        assert sorted(names) == sorted(PUBLISHED[number].systems)
        assert suite.baseline in names


def test_a_row_changes_the_setting_in_its_name() -> None:
    two = {row.name: row for row in SUITES[2].rows}
    assert two["SG 0 %"].mode == two["DG 0 %"].mode == "unguided"
    assert two["SG 75 %"].rate == 0.75
    assert two["DG 25 %"].mode == "differential"
    three = {row.name: row for row in SUITES[3].rows}
    assert three["w/o PAR"].training == three["w/o PAR + two classifiers"].training
    assert three["w/o PAR + two classifiers"].mode == "unguided"
    assert three["Ours"].training == {}


def test_rows_are_guided_as_in_the_paper_for_any_preset(
    run_preset: Preset,
) -> None:
    other = derived(
        run_preset,
        {"generation": {"guidance": {"lambda_face": 7, "lambda_non_face": 0, "rate": 1}}},
    )
    for suite in SUITES.values():
        for row in suite.rows:
            used = row.guidance(other)
            assert used.rate == (row.rate if suite.number == 2 else 0.5)
            if suite.number in (1, 2):
                values = (used.lambda_face, used.lambda_non_face, used.lambda_diff)
                assert values == (0.1, 1.0, 0.25)
    for number, key in ((5, "lambda_non_face"), (6, "lambda_face"), (7, "lambda_diff")):
        for row in SUITES[number].rows:
            assert getattr(row.guidance(other), key) == pytest.approx(float(row.name))
    stronger = derived(other, {"benchmark": {"suite": {"guidance": {"lambda_face": 5.0}}}})
    swept = [row.guidance(stronger).lambda_face for row in SUITES[6].rows]
    assert swept == [2.5, 5.0, 7.5, 10.0, 12.5]
    three = {row.name: row.guidance(other) for row in SUITES[3].rows}
    assert three["w/o face classifier"].lambda_face == 0
    assert three["w/o non-face classifier"].lambda_non_face == 0


@pytest.mark.parametrize("name", preset_names())
def test_no_table_of_a_preset_compares_a_run_with_itself(name: str) -> None:
    for suite in SUITES.values():
        require_distinct(suite, load_preset(name))


def test_two_rows_of_one_run_are_refused(run_preset: Preset) -> None:
    hasty = derived(run_preset, {"generation": {"ddim_steps": 2}})
    with pytest.raises(StageError, match=r"'SG 25 %' and 'SG 50 %' would be the same run"):
        require_distinct(SUITES[2], hasty)
    with pytest.raises(ValueError, match=r"lambda_non_face"):
        derived(run_preset, {"benchmark": {"suite": {"guidance": {"lambda_non_face": 0}}}})
    none = SuiteRow("none", "sequential", rate=0.0)
    assert none.guidance(run_preset).effective_settings(none.mode, 30) == {}


@pytest.mark.parametrize(
    ("claimed", "low", "high", "expected"),
    [
        (-3, -2, -1, "reproduced"),
        (3, 1, 2, "reproduced"),
        (3, -2, -1, "not reproduced"),
        (-3, 1, 2, "not reproduced"),
        (3, -1, 2, "undecided"),
        (0, 1, 2, "undecided"),
    ],
)
def test_a_verdict_needs_the_sign_and_the_interval(
    claimed: float, low: float, high: float, expected: str
) -> None:
    assert verdict_of(claimed, PairedDifference((low + high) / 2, low, high, 0.01, 6)) == expected


def test_few_clips_decide_nothing() -> None:
    assert verdict_of(1, PairedDifference(2, 1, 3, 0.01, 5)) == "undecided"


def test_without_a_number_there_is_no_verdict() -> None:
    assert verdict_of(1, None) == "missing"
    cell = Comparison(2, "a", "all", "bas", "bas", "b", 2.0, 1.0, *[None] * 5, "missing")
    assert cell.claimed == "up"


def test_a_paired_statistic_sees_through_the_spread_between_clips() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    clips = [rng.normal(scale=10, size=(3, 1)) for _ in range(12)]
    better = [clip + 1 for clip in clips]
    mean = each_resample(np.mean)
    found = paired_statistic([better], [clips], mean, rounds=200, seed=0)
    assert found.difference == pytest.approx(1)
    assert found.low == pytest.approx(1)
    none = paired_statistic([clips], [clips], mean, rounds=50, seed=0)
    assert (none.difference, none.p) == (0, 1)
    with pytest.raises(ValueError, match="same 2 or more clips"):
        paired_statistic([clips], [clips[:3]], mean, rounds=5, seed=0)


def test_a_key_of_the_tables_does_not_change_the_main_fgd(
    data_store: Store, run_preset: Preset
) -> None:
    short = derived(run_preset, {"benchmark": {"suite": {"max_frames": 22}}})
    assert pose_window(data_store, short) == pose_window(data_store, run_preset) == 34
    assert protocol_of(short) == protocol_of(run_preset)
    with pytest.raises(StageError, match=r"set benchmark\.pose_window to 12"):
        run_suite(data_store, short, 2)
    chosen = derived(short, {"benchmark": {"pose_window": 12}})
    assert pose_window(data_store, chosen) == 12
    assert protocol_of(chosen) != protocol_of(run_preset)


def test_an_overlay_reads_through_and_writes_on_top(tmp_path: Path) -> None:
    below = Store(str(tmp_path / "base"))
    below.write_json("checkpoints/univdm/final/training.json", {"fingerprint": "ours"})
    below.write_bytes("clips/a.mp4", b"a")
    over = OverlayStore(str(tmp_path / "base/variants/x"), below.url)
    assert over.read_bytes("clips/a.mp4") == b"a"
    assert over.exists("clips/a.mp4")
    over.write_json("checkpoints/univdm/final/training.json", {"fingerprint": "its own"})
    assert over.read_json("checkpoints/univdm/final/training.json")["fingerprint"] == "its own"
    assert below.read_json("checkpoints/univdm/final/training.json")["fingerprint"] == "ours"
    over.write_bytes("clips/b.mp4", b"b")
    assert over.glob("clips/*.mp4") == ["clips/a.mp4", "clips/b.mp4"]
    over.remove("clips/a.mp4")
    assert below.exists("clips/a.mp4")
    with over.reading("clips/a.mp4") as path:
        assert path.read_bytes() == b"a"
    assert pickle.loads(pickle.dumps(over)).read_bytes("clips/a.mp4") == b"a"


def test_derived_presets_are_checked_and_named(run_preset: Preset) -> None:
    changed = derived(run_preset, {"univdm": {"par": False}})
    assert not changed.univdm.par
    assert changed.codec == run_preset.codec
    assert variant_name({"univdm": {"par": False}}) == "univdm.par-False"
    with pytest.raises((PresetError, ValueError), match="parr"):
        derived(run_preset, {"univdm": {"parr": False}})


def test_claims_are_compared_where_the_paper_prints_both(run_store, run_preset) -> None:
    from paha_core.benchmark.measuring.evaluate import evaluate
    from paha_core.benchmark.measuring.videos import collect_videos

    ours = collect_videos(run_store, run_preset)
    systems = {"real": ours["real"], "PAHA-SG": ours["sequential"], "PAHA-DG": ours["differential"]}
    systems = {
        name: [video.__class__(**{**video.__dict__, "system": name}) for video in videos]
        for name, videos in systems.items()
    }
    evaluation = evaluate(run_store, run_preset, systems)
    rows = [
        row
        for name in systems
        for dataset in evaluation.scopes()
        for row in evaluation.rows("table1", name, dataset)
    ]
    cells = {(c.dataset, c.metric): c for c in compare(SUITES[1], evaluation, rows)}
    assert {c.system for c in cells.values()} == {"PAHA-SG"}
    lips = cells["all", "lip_correlation_truth"]
    assert lips.verdict == "undecided"  # four clips decide nothing
    assert (lips.claim_of, lips.claimed) == ("sync_c", "down")  # 6.183 below 6.328
    assert lips.high < 0
    assert cells["all", "fvd"].verdict == "missing"
    assert cells["all", "fvd[studio-r3d]"].claim_of == "fvd"
    assert cells["cnas", "bas"].published == 0.1241
    assert cells["pats", "bas"].published == 0.1561
