"""What a held-out clip is generated from."""

import numpy as np
import pytest

from paha_core.inference.held_out import HeldOutClip, conditions_of
from paha_core.shards.reader import ShardReader
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store


@pytest.mark.parametrize(
    ("seen", "frame"),
    [((), 12), ((2, 7, 12, 17), 12), ((2, 7, 17), 7), ((2,), 2)],  # of frames 2, 7, 12, 17
)
def test_the_reference_shows_a_face_where_one_does(clip_sample, tmp_path, seen, frame):
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
    given = conditions_of([clip], 20, 2)
    assert given.reference_embedding[0, 0] == clip.reference_place
    assert np.array_equal(given.reference_latents[0], sample.latents[clip.reference_frame])
