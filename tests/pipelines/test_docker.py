"""The images' files, read: what they name exists, and what containers must share is the same."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())


def test_dagster_finds_its_home_and_keeps_history_in_the_volume():
    [folder] = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.M)
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


def test_the_programs_that_are_started_are_installed():
    [started] = re.findall(r'^CMD \["(\S+)"', DOCKERFILE, re.M)
    commands = [service["command"].split()[0] for service in COMPOSE["services"].values()]
    assert {started, *commands} <= {entry.name for entry in entry_points(group="console_scripts")}


def test_every_copied_file_exists():
    for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M):
        assert all((ROOT / name).exists() for name in line.split())
