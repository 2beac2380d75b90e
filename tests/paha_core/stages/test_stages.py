"""The one code path: what a stage reports, and when it refuses."""

from pathlib import Path

import pytest

from paha_core.config import PresetError, load_preset
from paha_core.errors import EXPECTED, Interrupted, StageError, under_dagster
from paha_core.stages import ALL, STAGES, Workspace, run_stage, stages_up_to
from paha_core.stages.stage_report import StageReport, merged
from paha_core.stages.status import rows
from paha_core.store import Store

ROOT = Path(__file__).parents[3]


def test_a_bad_preset_is_refused_before_anything_is_done(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\ncorpora: {cnas: {}, studio: {}}\nunivdm: {train: {stepz: 3}}\n")
    with pytest.raises(PresetError, match=r"univdm\.train\.stepz"):
        run_stage("programmes", Workspace(str(bad), str(tmp_path / "store")))
    assert not (tmp_path / "store").exists()


def test_an_unknown_stage_names_those_there_are(tmp_path):
    with pytest.raises(StageError, match="par_masks"):
        run_stage("par_mask", Workspace("smoke", str(tmp_path)))


@pytest.mark.parametrize(
    ("stage", "missing"),
    [("clips", "programmes"), ("keypoints", "clips"), ("par_masks", "keypoints")],
)
def test_a_missing_input_names_the_stage_to_run(tmp_path, stage, missing):
    with pytest.raises(StageError, match=f"run `paha run {missing}` first"):
        run_stage(stage, Workspace("smoke", str(tmp_path)))


def test_under_dagster_the_message_names_assets(tmp_path):
    workspace = Workspace("smoke", str(tmp_path))
    with under_dagster(), pytest.raises(StageError, match="materialise `clips` first"):
        run_stage("keypoints", workspace)
    with pytest.raises(StageError, match="run `paha run clips` first"):
        run_stage("keypoints", workspace)


def test_a_corpus_that_the_preset_lacks_is_no_error(tmp_path):
    preset = tmp_path / "one.yaml"
    preset.write_text("name: one\ncorpora: {cnas: {}, studio: {}}\n")
    report = run_stage("clips", Workspace(str(preset), str(tmp_path)), datasets=["pats"])
    assert (report.kept, report.rejected) == (0, 0)
    assert "no such corpus" in str(report.figures)


def test_a_workspace_without_a_url_is_below_runs():
    assert Workspace("smoke").store.url == "runs/smoke"


def test_every_stage_has_a_title_and_a_description():
    assert all(stage.title and stage.description for stage in ALL.values())
    assert next(iter(STAGES)) == "programmes"
    assert list(STAGES)[-1] == "report"


def test_a_stage_comes_after_all_it_needs():
    assert stages_up_to("report") == list(STAGES)
    assert stages_up_to("par_masks") == ["programmes", "clips", "keypoints", "par_masks"]
    assert stages_up_to("table2")[-1] == "table2"
    assert "generated_clips" not in stages_up_to("table2")
    order = list(ALL)
    for name, stage in ALL.items():
        assert all(order.index(needed) < order.index(name) for needed in stage.needs)


def test_reports_of_several_corpora_add_up():
    one = StageReport("clips", 1, 2, 3, 4, reasons={"silent": 2}, data_version="a")
    two = StageReport("clips", 10, 1, 0, 0, reasons={"silent": 1}, data_version="b")
    both = merged([one, two])
    assert (both.kept, both.rejected, both.computed, both.reused) == (11, 3, 3, 4)
    assert both.reasons == {"silent": 3}
    assert both.data_version not in ("a", "b", "")


def test_a_report_survives_being_sent():
    report = StageReport("clips", 1, figures={"x": 0.5}, pictures={"a": "b.png"})
    assert StageReport(**report.as_dict()) == report


def test_errors_a_user_can_act_on_share_a_base():
    from paha_core.corpora.download import DownloadError
    from paha_core.inference.segment_guidance import GateError
    from paha_core.media.ffmpeg import MediaError
    from paha_core.pose.dwpose import DeviceError
    from paha_core.shards.reader import ShardError
    from paha_core.training.run import TrainingError

    named = (PresetError, StageError, DownloadError, DeviceError, GateError, MediaError)
    for kind in (*named, ShardError, TrainingError):
        assert issubclass(kind, EXPECTED), kind
    for kind in (Interrupted, KeyError, ValueError, RuntimeError):
        assert not issubclass(kind, EXPECTED), kind


def test_presets_that_come_along_are_good():
    for name in ("demo", "smoke"):
        assert load_preset(name).name == name


def test_the_table_in_the_readme_is_the_registry():
    lines = [f"| `{n}` | {s.title} | `{s.code}` | {s.paper} |" for n, s in STAGES.items()]
    readme = (ROOT / "README.md").read_text()
    shown = readme.partition("| stage (asset) |")[2].partition("\n\n")[0].splitlines()[2:]
    assert shown == lines


def test_the_registrys_code_paths_exist():
    for name, stage in ALL.items():
        assert (ROOT / stage.code).exists(), name


def test_status_has_a_row_for_every_stage(tmp_path):
    preset = load_preset("demo")
    shown = rows(Store(str(tmp_path)), preset)
    assert list(dict.fromkeys(name for name, *_ in shown)) == list(STAGES)
    parts = [part for name, part, *_ in shown if name == "keypoints"]
    assert parts == list(preset.corpora.datasets)
    assert {state for *_, state in shown} == {"not yet"}


def test_status_names_the_replacement_of_a_stage(tmp_path):
    preset = load_preset("demo")
    codec = preset.codec.model_copy(update={"pretrained": "weights/vae"})
    corpora = preset.corpora.model_copy(update={"studio": None})
    changed = preset.model_copy(update={"codec": codec, "corpora": corpora})
    states = {name: state for name, *_, state in rows(Store(str(tmp_path)), changed)}
    assert states["latent_codec"] == "pretrained: weights/vae"
    assert states["programmes"] == "the preset's own footage"
