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


def test_one_corpus_is_ingested_found_done_and_filled_again_for_one_speaker(
    preset, tmp_path, in_this_process
):
    job = defs.resolve_job_def("full_rebuild")
    where = {"preset_file": preset, "store": str(tmp_path / "store")}

    def config(**more):
        return {"resources": {"workspace": {"config": where | more}}}

    with dg.DagsterInstance.ephemeral() as instance, in_this_process():
        counts = []
        for _ in range(2):
            done = job.execute_in_process(
                run_config=config(),
                instance=instance,
                partition_key="cnas",
                asset_selection=[dg.AssetKey("programmes"), dg.AssetKey("clips")],
            )
            assert done.success
            [event] = done.asset_materializations_for_node("clips")
            counts.append({k: event.metadata[k].value for k in ("kept", "computed", "reused")})
            assert "data:image/png" in event.metadata["Middle frames (cnas)"].value
        sounds = sorted((tmp_path / "store/clips/cnas").glob("*/*.wav"))
        for sound in sounds:
            sound.unlink()
        again = job.execute_in_process(
            run_config=config(speakers=["lin"]),
            instance=instance,
            partition_key="cnas",
            asset_selection=[dg.AssetKey("programmes"), dg.AssetKey("clips")],
        )
        [event] = again.asset_materializations_for_node("clips")
        unknown = job.execute_in_process(
            run_config=config(speakers=["lim"]),
            instance=instance,
            partition_key="cnas",
            asset_selection=[dg.AssetKey("programmes"), dg.AssetKey("clips")],
            raise_on_error=False,
        )
    assert counts[0]["computed"] == counts[0]["kept"] > 0
    assert (counts[1]["computed"], counts[1]["reused"]) == (0, counts[0]["kept"])
    filled = sorted((tmp_path / "store/clips/cnas").glob("*/*.wav"))
    assert filled == [sound for sound in sounds if sound.parent.name == "lin"]
    assert 0 < event.metadata["computed"].value == len(filled) < len(sounds)
    [failure] = unknown.get_step_failure_events()
    assert "cnas has no clip of lim" in failure.step_failure_data.error.message
