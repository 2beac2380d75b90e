"""What exists, and what loading it costs."""

import subprocess
import sys

import dagster as dg
import pytest

from assets.inputs import INPUT_KEYS, inputs_of
from paha_core.stages import ALL, STAGES, TABLES
from paha_core.stages.inputs import inputs
from pipelines import jobs
from pipelines.definitions import defs

HEAVY = ("torch", "cv2", "mediapipe", "diffusers", "librosa", "transformers", "matplotlib", "numba")


def stage_nodes():
    nodes = defs.resolve_asset_graph().asset_nodes
    return [node for node in nodes if node.key not in INPUT_KEYS]


def test_definitions_load():
    dg.Definitions.validate_loadable(defs)


def test_every_stage_is_an_asset_of_that_name():
    keys = defs.resolve_all_asset_keys()
    assert {key.path[-1] for key in keys if key not in INPUT_KEYS} == set(ALL)


def test_assets_depend_on_what_their_stages_need():
    for node in stage_nodes():
        stage = ALL[node.key.path[-1]]
        parents = {key.path[-1] for key in node.parent_keys}
        brought = {key.path[-1] for key in inputs_of(node.key.path[-1])}
        assert parents == {*stage.needs, *stage.shows, *brought}, node.key


def test_assets_are_what_the_registry_describes():
    for node in stage_nodes():
        stage = ALL[node.key.path[-1]]
        assert node.description == stage.description
        assert node.group_name == stage.group
        assert node.kinds == set(stage.kinds)
        assert node.code_version == stage.code_version
        assert node.owners == [f"team:{stage.group}"]
        assert node.tags["paha/device"] == ("gpu" if stage.on_device else "cpu")
        assert node.is_partitioned == stage.per_dataset
        assert node.metadata["code"] == stage.code
        pool = defs.resolve_assets_def(node.key).op.pool
        assert pool == ("gpu" if stage.on_device else None)


def test_loading_imports_nothing_heavy():
    code = (
        "import sys, pipelines.definitions; print(*[m for m in sys.argv[1:] if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_the_worker_and_the_command_line_import_no_dagster():
    code = "import sys, assets.worker, paha_core.cli; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_asset_is_described_and_grouped():
    for node in stage_nodes():
        assert node.description, node.key
        assert node.group_name in {"data", "networks", "results", "tables"}
        assert node.code_version


@pytest.mark.parametrize("job", jobs.ALL)
def test_jobs_resolve(job):
    assert defs.resolve_job_def(job.name).nodes


def test_checks_block_where_going_on_is_senseless():
    checks = {
        (spec.asset_key.path[-1], spec.name): spec.blocking
        for check in defs.asset_checks or ()
        for spec in check.check_specs
    }
    blocking = {
        ("clips", "split_leakage"),
        ("keypoints", "keypoint_coverage"),
        ("training_shards", "shard_integrity"),
        ("generated_clips", "as_long_as_audio"),
        *((name, "finite_loss") for name, stage in ALL.items() if stage.trains),
        *((name, "audio_swap") for name in ("face_classifier", "non_face_classifier")),
    }
    assert {name for name, blocks in checks.items() if blocks} == blocking
    assert {name for name, blocks in checks.items() if not blocks} == {
        ("benchmark", "no_regression"),
        ("face_classifier", "sound_only"),
        ("non_face_classifier", "sound_only"),
    }


def test_reevaluate_starts_at_the_generated_clips():
    keys = defs.resolve_job_def("reevaluate").asset_layer.selected_asset_keys
    names = {"generated_clips", "pose_autoencoder", "video_encoder", "benchmark", "report"}
    assert {key.path[-1] for key in keys} == names


def test_tables_run_on_demand_only():
    whole = defs.resolve_job_def("full_rebuild").asset_layer.selected_asset_keys
    assert {key.path[-1] for key in whole} == set(STAGES)
    tables = defs.resolve_job_def("all_tables").asset_layer.selected_asset_keys
    assert {key.path[-1] for key in tables} == {*TABLES, "report"}
    for name in TABLES:
        keys = defs.resolve_job_def(name).asset_layer.selected_asset_keys
        assert {key.path[-1] for key in keys} == {name, "report"}


def test_device_stages_wait_for_the_gpu():
    pools = {node.key.path[-1]: defs.resolve_assets_def(node.key).op.pool for node in stage_nodes()}
    assert {name for name, pool in pools.items() if pool == "gpu"} >= {"univdm", "generated_clips"}
    assert pools["clips"] is None


def test_weekly_schedule_asks_for_one_reevaluation():
    schedule = defs.resolve_schedule_def("weekly_reevaluation")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(instance, repository_def=defs.get_repository_def())
        requests = schedule.evaluate_tick(context).run_requests
    assert requests is not None
    assert len(requests) == 1


def test_lineage_starts_at_what_people_bring():
    graph = defs.resolve_asset_graph()
    children = {
        key.path[-1]: {child.path[-1] for child in graph.get(key).child_keys} for key in INPUT_KEYS
    }
    assert children == {name: set(each.stages) for name, each in inputs().items()}
    assert children["footage"] == {"clips"}
    assert all(graph.get(key).is_observable for key in INPUT_KEYS)


def test_the_benchmark_goes_stale_when_its_schedule_rests():
    schedule = defs.resolve_schedule_def("weekly_reevaluation")
    assert schedule.cron_schedule == "0 3 * * 1"
    policies = {
        node.key.path[-1]: node.freshness_policy for node in stage_nodes() if node.freshness_policy
    }
    assert [*policies] == ["benchmark"]
    assert 7 < policies["benchmark"].warn_window.to_timedelta().days < 14
