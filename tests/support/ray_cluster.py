"""A Ray cluster of two nodes on this host, with the job API."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from s3_server import free_ports

ROOT = Path(__file__).parents[2]
LIMIT = 600.0  # seconds until a node is there; only a hang is to be caught


@contextmanager
def ray_cluster(variables: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """Two nodes of one CPU each; the addresses of the cluster and of its dashboard.

    Its processes have these environment `variables`. Skips where Ray is missing.
    """
    pytest.importorskip("ray.job_submission", reason="pip install 'paha[ray]'")
    folder = Path(tempfile.mkdtemp(prefix="paha-ray-"))  # the sockets below it need a short path
    port, dashboard, client = free_ports(3)
    address, url = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
    head = [
        "--head", f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={client}", f"--temp-dir={folder}",
    ]  # fmt: skip
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for own in (head, [f"--address={address}"]):
            log = folder / f"node{len(nodes)}.log"
            nodes.append(_start(own, log, variables))
            deadline = time.monotonic() + LIMIT
            while _alive(url) < len(nodes):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Ray did not start: {log.read_text()[-2000:]}")
                if nodes[-1].poll() is not None:  # its agents took more than 15 s: once more
                    _kill(nodes[-1])
                    nodes[-1] = _start(own, log, variables)
                time.sleep(0.5)
        yield address, url
    finally:
        for node in reversed(nodes):
            node.terminate()  # it ends its own processes
        for node in nodes:
            with suppress(subprocess.TimeoutExpired):
                node.wait(60)
            _kill(node)
        shutil.rmtree(folder, ignore_errors=True)


def _start(own: list[str], log: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *own]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=80000000"]
    more = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "60",
        "PYTHONPATH": str(ROOT),
    }
    with log.open("w") as out:
        return subprocess.Popen(
            command, env={**variables, **more}, cwd=ROOT, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip


def _kill(node: subprocess.Popen[bytes]) -> None:
    """All processes of the node."""
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)


def _alive(url: str) -> int:
    """The number of nodes that are alive."""
    with suppress(OSError, LookupError, TypeError, ValueError):
        with urllib.request.urlopen(f"{url}/api/v0/nodes", timeout=30) as response:
            found = json.load(response)["data"]["result"]["result"]
        return sum(node["state"] == "ALIVE" for node in found)
    return 0


def jobs_of(url: str) -> dict[str, str]:
    """The status of each job that was submitted to the cluster with that dashboard, by its id."""
    with urllib.request.urlopen(f"{url}/api/jobs/", timeout=120) as response:
        jobs = json.load(response)
    # the others are drivers: processes that did `ray.init`
    return {job["submission_id"]: job["status"] for job in jobs if job["submission_id"]}
