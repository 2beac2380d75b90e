"""What an asset shows of a report."""

import base64
import io

import cv2
import dagster as dg
import numpy as np
from PIL import Image

from assets.metadata import result, table
from paha_core.stages import Workspace
from paha_core.stages.stage_report import StageReport


def test_a_report_becomes_metadata(tmp_path):
    workspace = Workspace("smoke", str(tmp_path))
    workspace.store.write_bytes("pictures/a.png", b"not really")
    report = StageReport(
        "clips",
        kept=2,
        rejected=3,
        reasons={"silent": 1, "too short": 2},
        figures={"face_share": 0.5},
        artifacts={"manifest": "/x/y", "page": "s3://bucket/run/index.html"},
        pictures={"Frames": "pictures/a.png"},
        data_version="abc",
    )
    shown = result(report, workspace)
    assert shown.data_version == dg.DataVersion("abc")
    metadata = dict(shown.metadata or {})
    assert (metadata["kept"], metadata["rejected"], metadata["preset"]) == (2, 3, "smoke")
    assert "data:image/png;base64," in metadata["Frames"].value
    assert metadata["manifest"] == dg.MetadataValue.path("/x/y")
    assert metadata["page"] == dg.MetadataValue.url("s3://bucket/run/index.html")
    assert [r.data["reason"] for r in metadata["rejections"].records] == ["too short", "silent"]


def test_a_large_picture_stays_small_in_the_event_log(tmp_path):
    workspace = Workspace("smoke", str(tmp_path))
    noise = np.random.default_rng(0).integers(0, 255, (500, 3000, 3), np.uint8)
    with workspace.store.writing("a.png") as path:
        Image.fromarray(cv2.GaussianBlur(noise, (0, 0), 2)).save(path)
    assert len(workspace.store.read_bytes("a.png")) > 1_000_000
    shown = result(StageReport("clips", pictures={"Frames": "a.png"}), workspace)
    kind, encoded = dict(shown.metadata or {})["Frames"].value.removesuffix(")").split(";base64,")
    assert kind.endswith("data:image/jpeg")
    assert len(encoded) < 300_000
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        assert picture.size == (1600, 267)


def test_a_table_holds_any_value():
    assert [r.data["value"] for r in table({"a": 1.0, "b": "x"}, "k", "value").records] == [
        "1",
        "x",
    ]
