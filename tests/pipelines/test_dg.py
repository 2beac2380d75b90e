"""Dagster's newer command line finds the project by `[tool.dg]` alone."""

import json
import subprocess
import sys
from pathlib import Path

from paha_core.stages import ALL

ROOT = Path(__file__).parents[2]


def dg(*arguments):
    command = [str(Path(sys.executable).with_name("dg")), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_dg_checks_the_definitions():
    done = dg("check", "defs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout + done.stderr


def test_dg_lists_every_stage_and_job():
    done = dg("list", "defs", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads(done.stdout)
    names = {asset["asset_key_parts"][-1] for asset in listed["assets"]}
    assert names >= set(ALL)
    assert "full_rebuild" in {job["name"] for job in listed["jobs"]}
