"""Jobs in this process: a part of the graph, narrowed to one corpus."""

import json

import dagster as dg
import pytest

from pipelines.definitions import defs


@pytest.fixture
def preset(tmp_path):
    """One short programme for each presenter, Mandarin only, without the slow filters."""
    path = tmp_path / "tiny.yaml"
    slow = dict.fromkeys(("min_body_share", "max_hand_gap", "min_dnsmos", "max_jitter"))
    corpora = {
        "studio": {"programmes": 1, "seconds": 2.1, "height": 128},
        "clip": {"size": 128},
        "cnas": {"clip_frames": 75, "region": [128, 224]} | slow,
    }
    path.write_text(json.dumps({"name": "tiny", "workers": 1, "corpora": corpora}))
    return str(path)


def test_one_corpus_is_ingested_and_then_found_done(preset, tmp_path):
    job = defs.resolve_job_def("full_rebuild")
    config = {
        "resources": {
            "workspace": {"config": {"preset_file": preset, "store": str(tmp_path / "store")}}
        }
    }
    with dg.DagsterInstance.ephemeral() as instance:
        counts = []
        for _ in range(2):
            done = job.execute_in_process(
                run_config=config,
                instance=instance,
                partition_key="cnas",
                asset_selection=[dg.AssetKey("programmes"), dg.AssetKey("clips")],
            )
            assert done.success
            [event] = done.asset_materializations_for_node("clips")
            counts.append({k: event.metadata[k].value for k in ("kept", "computed", "reused")})
            assert "data:image/png" in event.metadata["Middle frames (cnas)"].value
    assert counts[0]["computed"] == counts[0]["kept"] > 0
    assert (counts[1]["computed"], counts[1]["reused"]) == (0, counts[0]["kept"])
