import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dagster_shell(tmp_path):
    """Runs `dagster …` as a user does, in a folder of its own with the project's dagster.yaml."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PAHA_", "DAGSTER_"))
    } | {
        "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME": "pipelines.definitions",
        "PYTHONPATH": str(ROOT),
    }

    def run(*arguments: str, timeout: int = 1800, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "dagster", *arguments],
            cwd=tmp_path,
            env=environment | more,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )

    return run
