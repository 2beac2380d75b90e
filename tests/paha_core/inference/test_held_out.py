"""Which held-out clips are generated, from what, and at which size."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from paha_core.config import derived
from paha_core.engine.manifest_files import manifest_path
from paha_core.inference.held_out import generate_held_out, generation_fingerprint
from paha_core.inference.held_out_clips import HeldOutClip, conditions_of, select_clips
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.media.encode import write_video
from paha_core.metrics.protocol import protocol_of
from paha_core.shards.reader import ShardReader
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.mark.parametrize(
    ("seen", "frame"),
    [((), 12), ((2, 7, 12, 17), 12), ((2, 7, 17), 7), ((2,), 2)],  # of frames 2, 7, 12, 17
)
def test_the_reference_shows_a_face_where_one_does(pipeline, clip_sample, tmp_path, seen, frame):
    found, faces = np.zeros(20, bool), np.zeros((20, 4), np.float32)
    found[list(seen)], faces[list(seen)] = True, [0.2, 0.1, 0.6, 0.5]
    stored = np.array([2, 7, 12, 17], np.int32)
    embeddings = np.arange(4, dtype=np.float16)[:, None].repeat(5, axis=1)
    sample = clip_sample(
        *("a", 0, "test"),
        **{"face_found": found, "faces": faces, "reference_index": stored},
        reference=embeddings,
    )
    store = Store(str(tmp_path))
    rows = write_shards(store, "shards/cnas/test", [sample], clips_per_shard=1)
    write_index(store, "training_shards", "cnas", rows)
    clip = HeldOutClip(ShardReader(store, ["cnas"], "test"), 0, "real.mp4", 20, "generated/a")
    assert clip.reference_frame == frame
    face = [0.2, 0.1, 0.6, 0.5] if seen else [0, 0, 0, 0]  # which guidance refuses
    assert clip.face_box.tolist() == pytest.approx(face)
    given = conditions_of(pipeline, [clip], 20)
    assert given.reference_embedding[0, 0] == clip.reference_place
    assert np.array_equal(given.reference_latents[0], sample.latents[clip.reference_frame])


@pytest.fixture
def held_out(clip_sample, tmp_path):
    """A store with seven held-out clips of two speakers, and their real videos."""
    store = Store(str(tmp_path))
    samples = [clip_sample(name, n, "test") for n, name in enumerate("aaaaabb")]
    rows = write_shards(store, "shards/cnas/test", samples, clips_per_shard=7)
    write_index(store, "training_shards", "cnas", rows)
    clips = []
    for sample in samples:
        path = f"clips/{sample.key}.mp4"
        with store.writing(path) as target:
            shade = np.full((20, 64, 64, 3), 90, np.uint8)
            write_video(target, shade, fps=25)
        row = {"clip_id": sample.meta["clip_id"], "path": path, "dataset": "cnas"}
        clips.append(row | {"status": "kept", "split": "test", "reason": ""})
    store.write_table(manifest_path("clips", "cnas"), pa.Table.from_pylist(clips))
    return store


@pytest.mark.parametrize(("clips", "numbers"), [(1, "0"), (3, "051"), (0, "0516234")])
def test_clips_count_for_each_data_set_and_0_takes_all(pipeline, held_out, clips, numbers):
    changes = {"generation": {"clips": clips}, "corpora": {"pats": None}}
    chosen = select_clips(held_out, derived(pipeline.preset, changes))
    assert "".join(clip.clip_id[-1] for clip in chosen) == numbers


def test_held_out_clips_are_generated_and_evaluated_at_the_evaluation_size(pipeline, held_out):
    preset = derived(pipeline.preset, {"generation": {"size": 64}})
    larger = replace(pipeline, preset=preset)
    clip = HeldOutClip(ShardReader(held_out, ["cnas"], "test"), 0, "clips/cnas__a__0.mp4", 20, "x")
    cells = 64 // pipeline.codec.factor
    given = conditions_of(larger, [clip], 20)
    assert given.reference_latents.shape == (1, pipeline.codec.channels, cells, cells)
    expected = pipeline.codec.encode(clip.reference_picture()[None])
    torch.testing.assert_close(given.reference_latents, expected)
    assert protocol_of(preset).size == preset.evaluation_size == 64
    assert protocol_of(pipeline.preset).size == pipeline.preset.corpora.clip.size
    with pytest.raises(ValueError, match="not a multiple"):
        derived(pipeline.preset, {"generation": {"size": 65}})


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"batch": 1, "clips": 3, "offload": True, "gradient_checkpointing": True}, True),
        ({"precision": "bf16"}, False),
        ({"precision": "tf32"}, False),
        ({"compile": True}, False),
        ({"size": 64}, False),
    ],
)
def test_the_fingerprint_holds_what_a_video_depends_on(pipeline, tmp_path, change, is_same):
    store, settings = Store(str(tmp_path)), Settings(mode="unguided")
    first = generation_fingerprint(store, pipeline.preset, settings)
    preset = derived(pipeline.preset, {"generation": change})
    assert (generation_fingerprint(store, preset, settings) == first) == is_same
    if "precision" in change:  # asked for by the preset or by the settings
        asked = replace(settings, precision=change["precision"])
        again = generation_fingerprint(store, pipeline.preset, asked)
        assert again != first


def test_offloaded_networks_make_the_same_video(pipeline, inputs):
    preset = derived(pipeline.preset, {"generation": {"offload": True}})
    short = Settings(mode="unguided", steps=1, max_seconds=0.2)
    (one, _), (other, _) = (
        made(*inputs, short) for made in (pipeline, replace(pipeline, preset=preset))
    )
    assert np.array_equal(one.frames, other.frames)


# --- several processes ----------------------------------------------------------------------------


@pytest.fixture
def preset(pipeline):
    generation = {"clips": 0, "batch": 2, "ddim_steps": 2, "max_frames": 8, "segment_frames": 6}
    generation |= {"modes": ["unguided", "sequential"], "force_guidance": True}
    return derived(pipeline.preset, {"generation": generation, "corpora": {"pats": None}})


def start(preset, store, folder, pause):
    """A process that generates the held-out videos, as a second host would; it holds a batch."""
    (folder / "preset.json").write_text(preset.model_dump_json())
    command = [sys.executable, str(SUPPORT / "held_out_process.py"), str(folder / "preset.json")]
    command += [store.root, str(pause)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holds a batch\n"
    return process


def videos_of(store):
    return {path: store.read_bytes(path) for path in store.glob("generated/*.mp4")}


def rows_of(store):
    """The manifests but for what differs in time."""
    tables = [
        store.read_table(manifest_path("generated_clips", mode)).drop_columns("seconds")
        for mode in ("unguided", "sequential")
    ]
    return [table.to_pylist() for table in tables]


def forget(store):
    for path in [*store.glob("generated/*"), "manifests/generated_clips"]:
        store.remove(path)


def test_processes_share_held_out_videos_and_take_over_a_dead_ones(
    preset, held_out, save_networks, tmp_path_factory
):
    save_networks(held_out)
    folder = tmp_path_factory.mktemp("preset")

    def generate_here():
        opened = cache(lambda: PahaPipeline.from_store(held_out, preset))
        results = generate_held_out(held_out, preset, opened)
        return sum(result.computed for result in results.values())

    assert generate_here() == 14
    videos, rows = videos_of(held_out), rows_of(held_out)
    assert len(videos) == 14
    assert [len(part) for part in rows] == [7, 7]
    forget(held_out)
    killed = start(preset, held_out, folder, pause=1000.0)
    killed.kill()
    killed.wait()
    other = start(preset, held_out, folder, pause=1.0)
    generate_here()
    there = int(other.communicate()[0].splitlines()[-1])
    assert 0 < there <= 14  # the others were made here
    assert videos_of(held_out) == videos
    assert rows_of(held_out) == rows
