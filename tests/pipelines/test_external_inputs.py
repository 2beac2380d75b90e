"""What people bring: versions of footage and weights, and the sensor that waits for footage."""

import hashlib
import json
import os

import dagster as dg
import pytest

from assets.inputs import input_key
from paha_core.config import load_preset
from paha_core.stages.inputs import footage_versions, weight_versions
from pipelines.definitions import defs
from pipelines.resources import PahaResource, PresetName


@pytest.fixture
def footage(tmp_path):
    folder = tmp_path / "anchors"
    (folder / "li_mei").mkdir(parents=True)
    (folder / "li_mei/news.mp4").write_bytes(b"first")
    return folder


@pytest.fixture
def preset(tmp_path, footage):
    path = tmp_path / "own.yaml"
    content = {"name": "own", "corpora": {"cnas": {"programmes": str(footage)}}}
    path.write_text(json.dumps(content))
    return str(path)


def observe(preset, keys):
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("observe_inputs")
        config = {"resources": {"workspace": {"config": {"preset_file": preset}}}}
        done = job.execute_in_process(config, instance=instance)
        events = done.asset_observations_for_node("inputs")
        return {event.asset_key: event for event in events if event.asset_key in keys}


def test_footage_has_a_version_for_each_video_and_weights_their_sha256(preset, footage, tmp_path):
    before = footage_versions(load_preset(preset))
    assert list(before) == [str(footage / "li_mei/news.mp4")]
    os.utime(footage / "li_mei/news.mp4", ns=(1, 1))
    assert footage_versions(load_preset(preset)) != before
    assert footage_versions(load_preset("demo")) == {}  # the studio draws its own

    weights = tmp_path / "dw.onnx"
    weights.write_bytes(b"network")
    own = load_preset(preset)
    pose = own.pose.model_copy(update={"detector": "dwpose", "dwpose_pose": str(weights)})
    changed = own.model_copy(update={"pose": pose})
    [name] = [n for n in weights_named() if weight_versions(changed, n)]
    assert weight_versions(changed, name) == {str(weights): hashlib.sha256(b"network").hexdigest()}


def weights_named():
    from paha_core.weights.manifest import manifest

    return [name for name, entry in manifest().weights.items() if entry.key == "pose.dwpose_pose"]


def test_an_observation_changes_its_version_with_the_footage(preset, footage):
    key = input_key("footage")
    first = observe(preset, [key])[key]
    assert first.metadata["files"].value == 1
    assert observe(preset, [key])[key].data_version == first.data_version
    (footage / "li_mei/weather.mp4").write_bytes(b"second")
    assert observe(preset, [key])[key].data_version != first.data_version


def resource_of(preset):
    if preset.endswith(".yaml"):
        return PahaResource(preset_file=preset)
    return PahaResource(preset=PresetName[preset])


def tick(preset, cursor, runs=()):
    """With `runs`, by the statuses and tags of the instance's runs, oldest first."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("ingest_footage")
        for status, tags in runs:
            instance.create_run_for_job(job, status=status, tags=tags)
        context = dg.build_sensor_context(
            instance,
            cursor=cursor,
            repository_def=defs.get_repository_def(),
            resources={"workspace": resource_of(preset)},
        )
        return defs.resolve_sensor_def("new_footage").evaluate_tick(context)


def test_many_new_files_are_one_run_once_the_copy_has_ended(preset, footage):
    first = tick(preset, None)
    assert first.run_requests == []
    assert "the listing is changing" in first.skip_message
    second = tick(preset, first.cursor)
    assert len(second.run_requests) == 1
    assert "all ingested" in tick(preset, second.cursor).skip_message

    for number in range(3):  # a copy under way: each tick sees another listing
        (footage / f"li_mei/{number}.mp4").write_bytes(b"x")
        second = tick(preset, second.cursor)
        assert second.run_requests == []
    third = tick(preset, second.cursor)
    assert len(third.run_requests) == 1
    assert tick(preset, third.cursor).run_requests == []


def test_a_file_that_is_removed_and_restored_is_a_new_run(preset, footage):
    cursor, requests = None, []
    second = footage / "li_mei/weather.mp4"
    for change in (lambda: None, lambda: second.write_bytes(b"x"), second.unlink):
        change()
        for _ in range(2):
            done = tick(preset, cursor)
            cursor, requests = done.cursor, requests + done.run_requests
    first, _, third = requests
    assert first.tags == third.tags  # the same listing
    assert first.run_key is None  # with equal keys Dagster skips the later one
    assert third.run_key is None


def test_a_failed_ingestion_is_named_until_another_run_succeeds(preset, footage):
    cursor = tick(preset, tick(preset, None).cursor).cursor
    [request] = tick(preset, tick(preset, None).cursor).run_requests
    failed = (dg.DagsterRunStatus.FAILURE, request.tags)
    assert "re-execute" in tick(preset, cursor, [failed]).skip_message
    succeeded = (dg.DagsterRunStatus.SUCCESS, request.tags)
    assert "all ingested" in tick(preset, cursor, [failed, succeeded]).skip_message
    asked_again = tick(preset, tick(preset, None, [failed]).cursor, [failed])
    assert len(asked_again.run_requests) == 1


def test_a_preset_without_footage_or_a_missing_folder_waits(preset, footage):
    assert "names no footage" in tick("demo", None).skip_message
    footage.rename(footage.with_name("elsewhere"))
    assert "no folder of source videos" in tick(preset, None).skip_message
    sensor = defs.resolve_sensor_def("new_footage")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
