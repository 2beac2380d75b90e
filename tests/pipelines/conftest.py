import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_chat import chat

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dagster_environment(tmp_path):
    """A user's environment for Dagster in `tmp_path`, where the project's dagster.yaml is copied
    to."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    return {
        key: value for key, value in os.environ.items() if not key.startswith(("PAHA_", "DAGSTER_"))
    } | {
        "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME": "pipelines.definitions",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture
def dagster_shell(tmp_path, dagster_environment):
    """Runs `dagster …` as a user does, or another `command` of Dagster's."""

    def run(
        *arguments: str, command: str = "dagster", timeout: int = 1800, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name(command), *arguments],
            cwd=tmp_path,
            env=dagster_environment | more,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def webhook(monkeypatch):
    """What is posted to the webhook of PAHA_ALERT_WEBHOOK."""
    with chat() as (url, received):
        monkeypatch.setenv("PAHA_ALERT_WEBHOOK", url)
        yield received
