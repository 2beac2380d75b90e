"""What an asset shows of a report."""

import dagster as dg

from assets.metadata import result, table
from paha_core.step_report import StepReport
from paha_core.steps import Workspace


def test_a_report_becomes_metadata(tmp_path):
    workspace = Workspace("smoke", str(tmp_path))
    workspace.store.write_bytes("pictures/a.png", b"not really")
    report = StepReport(
        "clips",
        kept=2,
        rejected=3,
        reasons={"silent": 1, "too short": 2},
        figures={"face_share": 0.5},
        artifacts={"manifest": "/x/y"},
        pictures={"Frames": "pictures/a.png"},
        data_version="abc",
    )
    shown = result(report, workspace)
    assert shown.data_version == dg.DataVersion("abc")
    metadata = dict(shown.metadata or {})
    assert (metadata["kept"], metadata["rejected"], metadata["preset"]) == (2, 3, "smoke")
    assert "data:image/png;base64," in metadata["Frames"].value
    assert [r.data["reason"] for r in metadata["rejections"].records] == ["too short", "silent"]


def test_a_table_holds_any_value():
    assert [r.data["value"] for r in table({"a": 1.0, "b": "x"}, "k", "value").records] == [
        "1",
        "x",
    ]
