"""Requests and bytes of each stage from ingestion to shards on a real S3 server, for each clip.

    python benchmarks/store_requests.py [PRESET] [--apart]

With `--apart` every stage runs on a host of its own: none finds what an earlier one has downloaded.
Needs `pip install -e '.[dev]'`. The figures are in docs/results/cost.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from s3_server import BUCKET, Proxy, environment, s3_server

from paha_core.engine import table_cache
from paha_core.engine.manifest_stage import kept_rows
from paha_core.stages import Workspace, run_stage, stages_up_to

KINDS = ("LIST", "HEAD", "GET", "PUT")
OF_CLIPS = ("clips", "keypoints", "face_boxes", "par_masks", "shards")  # folders of the store


def main(arguments: Sequence[str] = ()) -> None:
    apart = "--apart" in arguments
    preset = next((each for each in arguments if not each.startswith("-")), "smoke")
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as server:
        os.environ.update(environment(server.port))
        workspace = Workspace(preset, f"s3://{BUCKET}/run")
        stages = stages_up_to("training_shards")
        for title in ("first run", "nothing to do"):
            print(f"{title}\nstage | LIST | HEAD | GET | PUT | other | files | MiB up | MiB down")
            for stage in stages:
                os.environ["PAHA_CACHE"] = f"{folder}/cache/{stage if apart else 'host'}"
                table_cache._tables.clear()  # as each stage of a Dagster run is a process
                server.reset()
                run_stage(stage, workspace)
                print(" | ".join(map(str, [stage, *row_of(server)])), flush=True)
        clips = kept_rows(workspace.store, "clips", workspace.preset.corpora.datasets)
        print(f"{len(clips)} clips")


def row_of(server: Proxy) -> list[str]:
    """The requests since the last reset by kind, those that read or write a clip's files, and the
    bytes to and from the server."""
    known = [server.counts[kind] for kind in KINDS]
    other = sum(server.counts.values()) - sum(known)
    files = sum(
        line.startswith(("GET ", "HEAD ", "PUT ")) and f"/run/{folder}/" in line
        for line in server.log
        for folder in OF_CLIPS
    )
    moved = [f"{count / 2**20:.2f}" for count in (server.sent, server.received)]
    return [*map(str, [*known, other, files]), *moved]


if __name__ == "__main__":
    main(sys.argv[1:])
