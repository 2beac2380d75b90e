"""Requests and bytes of each stage from ingestion to shards on a real S3 server, for each clip.

    python benchmarks/store_requests.py [PRESET]

Needs `pip install -e '.[dev]'`. The figures are in docs/results/cost.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from s3_server import BUCKET, environment, s3_server

from paha_core.engine import table_cache
from paha_core.engine.manifest_stage import kept_rows
from paha_core.stages import Workspace, run_stage, stages_up_to


def main(preset: str) -> None:
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as server:
        os.environ.update(environment(server.port))
        workspace = Workspace(preset, f"s3://{BUCKET}/run")
        stages = stages_up_to("training_shards")
        for title in ("first run", "nothing to do"):
            print(f"{title}\nstage | LIST | HEAD | GET | PUT | other | MiB up | MiB down")
            for stage in stages:
                table_cache._tables.clear()  # as each stage of a Dagster run is a process
                server.reset()
                run_stage(stage, workspace)
                known = [server.counts[kind] for kind in ("LIST", "HEAD", "GET", "PUT")]
                other = sum(server.counts.values()) - sum(known)
                moved = [f"{count / 2**20:.2f}" for count in (server.sent, server.received)]
                print(" | ".join(map(str, [stage, *known, other, *moved])), flush=True)
        clips = kept_rows(workspace.store, "clips", workspace.preset.corpora.datasets)
        print(f"{len(clips)} clips")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["smoke"]))
