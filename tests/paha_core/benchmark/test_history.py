"""History by checkpoint, what counts as a regression, and what is accepted."""

from pathlib import Path

import pytest

from paha_core.benchmark import history
from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.metrics.row import MetricRow
from paha_core.store import Store


def row(value: float | None, metric: str = "fgd", direction: str = "down", **more) -> MetricRow:
    spread = None if value is None else 0.5
    low, high = (None, None) if value is None else (value - spread, value + spread)
    base = {"suite": "main", "system": "sequential", "dataset": "all", "metric": metric}
    base |= {"value": value, "low": low, "high": high, "n": 5, "unit": "", "direction": direction}
    base |= {"extractor": "x", "extractor_sha256": "1", "reason": "" if value is not None else "-"}
    return MetricRow(**base | more)


def checkpoint(store: Store, name: str) -> None:
    store.write_json("checkpoints/univdm/final/training.json", {"fingerprint": name})


def test_history_is_kept_by_checkpoint(tmp_path: Path, run_preset: Preset) -> None:
    store = Store(str(tmp_path))
    assert history.judge(store).message == "nothing has been evaluated yet"
    checkpoint(store, "a")
    history.append(store, run_preset, [row(2.0)])
    assert "no other networks" in history.judge(store).message
    history.append(store, run_preset, [row(2.1)])  # the same networks again: in its place
    assert len(history.read(store)) == 1
    checkpoint(store, "b")
    history.append(store, run_preset, [row(2.2)])
    assert len(history.read(store)) == 2
    assert history.judge(store).regressions == []
    assert all(one["accepted"] for one in history.read(store))


def test_a_regression_beyond_the_interval_is_not_accepted_by_itself(
    tmp_path: Path, run_preset: Preset
) -> None:
    store = Store(str(tmp_path))
    for name, value in (("a", 2.0), ("b", 4.0), ("c", 4.1)):
        checkpoint(store, name)
        history.append(store, run_preset, [row(value)])
        found = history.judge(store)
        assert len(found.regressions) == (name != "a")
    assert "sequential: FGD from 2.00 to 4.10" in found.message
    assert found.evaluations == 3
    assert not found.passed
    history.accept(store)  # a person says it is fine
    assert history.judge(store).passed
    assert "and was accepted" in history.judge(store).message
    history.append(store, run_preset, [row(4.1)])  # measured again: still fine
    assert history.judge(store).passed
    checkpoint(store, "d")
    history.append(store, run_preset, [row(4.2)])
    assert history.judge(store).regressions == []


def test_another_protocol_has_a_history_of_its_own(tmp_path: Path, run_preset: Preset) -> None:
    from paha_core.benchmark.report.trends import trends

    store = Store(str(tmp_path))
    for name, protocol, value in (("a", "old", 1.0), ("a", "new", 4.0), ("b", "new", 4.2)):
        checkpoint(store, name)
        history.append(store, run_preset, [row(value, protocol=protocol)])
        if value == 4.0:
            assert "no other networks" in history.judge(store).message
            assert trends(store) == []  # two numbers that no line may join
    assert len(history.read(store)) == 3
    assert history.judge(store).regressions == []
    assert [plot.title for plot in trends(store)] == ["FGD"]


def test_what_does_not_count() -> None:
    def judged(new: MetricRow, old: MetricRow) -> int:
        from paha_core.metrics.row import rows_to_table

        tables = (rows_to_table([one]).to_pylist() for one in (new, old))
        return len(history.regressions(*tables))

    assert judged(row(4.0), row(2.0)) == 1
    assert judged(row(2.4), row(2.0)) == 0  # within the interval
    assert judged(row(1.0), row(2.0)) == 0  # better
    assert judged(row(1.0, direction="up"), row(2.0, direction="up")) == 1
    assert judged(row(None), row(2.0)) == 0
    assert judged(row(4.0, extractor="y"), row(2.0)) == 0
    assert judged(row(9.0, metric="tc"), row(1.0, metric="tc")) == 0
    assert judged(row(9.0, dataset="pats"), row(1.0, dataset="pats")) == 1  # the only data set
    assert judged(row(4.0, low=None, high=None), row(2.0)) == 0  # one clip
    assert judged(row(4.0, system="random_real"), row(2.0, system="random_real")) == 0


def test_what_should_be_like_real_gets_worse_on_either_side() -> None:
    from paha_core.metrics.row import rows_to_table

    def judged(value: float) -> int:
        how = {"metric": "sharpness_face", "direction": "real"}
        real, then = row(10.0, system="real", **how), row(12.0, **how)
        tables = [[real, row(value, **how)], [real, then]]
        return len(history.regressions(*(rows_to_table(rows).to_pylist() for rows in tables)))

    assert [judged(value) for value in (1.0, 9.0, 11.0, 14.0)] == [1, 0, 0, 1]


def test_accepting_without_an_evaluation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing has been evaluated"):
        history.accept(Store(str(tmp_path)))
