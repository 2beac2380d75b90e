"""A portrait, a voice and small networks with random weights, shared by the tests of generation."""

import json

import cv2
import numpy as np
import pytest
import torch

from paha_core.config import derived, load_preset
from paha_core.inference.untrained import untrained_pipeline
from paha_core.media.audio import write_wav
from paha_core.shards.sample import ClipSample
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store
from paha_core.trained import FOR_NEGATIVES, classifier_name, gate_fingerprint


@pytest.fixture(scope="session")
def picture():
    """A drawn presenter, uint8 RGB [256, 256, 3]."""
    from paha_core.corpora.studio import programme

    drawn = programme.prepare("lin", 0, seconds=1, height=256, seed=0)
    left, top, side = drawn.crop
    frame = next(iter(programme.draw_frames(drawn)))
    return frame[top : top + side, left : left + side]


@pytest.fixture(scope="session")
def inputs(picture, tmp_path_factory):
    """Paths of a portrait and a voice of 0.6 s (15 frames: two segments of the smoke preset)."""
    folder = tmp_path_factory.mktemp("inputs")
    cv2.imwrite(str(folder / "me.png"), picture[:, :, ::-1])
    tone = np.sin(np.arange(9600) / 20) * np.linspace(0.1, 0.6, 9600)
    write_wav(folder / "voice.wav", tone.astype(np.float32), 16000)
    return folder / "me.png", folder / "voice.wav"


@pytest.fixture(scope="session")
def pipeline():
    made = untrained_pipeline(load_preset("smoke"))
    for network in (made.univdm, *made.classifiers.values()):
        for parameter in network.parameters():  # the zero-initialised layers must speak too
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return made


@pytest.fixture(scope="session")
def save_networks(pipeline):
    """Writes the networks into a store as a run leaves them; one gate passed, one failed."""

    def save(store):
        networks = {"univdm": pipeline.univdm, "latent_codec": pipeline.codec.autoencoder}
        networks |= {classifier_name(part): one for part, one in pipeline.classifiers.items()}
        for name, network in networks.items():
            with store.writing_folder(f"checkpoints/{name}/final") as folder:
                network.save_pretrained(folder)
            store.write_json(f"checkpoints/{name}/final/training.json", {"fingerprint": name})
        for name, passed in (("face_classifier", True), ("non_face_classifier", False)):
            fingerprint = gate_fingerprint(store, pipeline.preset, name)
            verdict = {"passed": passed, "fingerprint": fingerprint}
            store.write_json(f"checkpoints/{name}/gate.json", verdict)

    return save


@pytest.fixture(scope="session")
def trained_store(save_networks, tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    save_networks(store)
    return store


@pytest.fixture(scope="session")
def clip_sample(pipeline):
    """Makes a clip of 20 frames as a shard holds it, of noise; `fields` stand in for its own."""

    def make(speaker, number, split, frames=20, **fields):
        draw = np.random.default_rng(number)
        audio, width = pipeline.audio, pipeline.reference.width
        about = {"dataset": "cnas", "speaker": speaker, "split": split, "fps": 25}
        about |= {"codec": "a", "audio_encoder": "b", "reference_encoder": "c"}
        about |= {"clip_id": f"cnas/{speaker}/{number}", "sample_rate": 16000, "frames": frames}
        own = {
            "latents": draw.normal(size=(frames, 4, 8, 8)).astype(np.float16),
            "par": np.ones((frames, 8, 8), np.float16),
            "regions": np.zeros((frames, 8, 8), np.uint8),
            "audio": draw.normal(size=(frames, audio.layers, audio.width)).astype(np.float16),
            "faces": np.tile(np.array([0, 0, 1, 0.5], np.float32), (frames, 1)),
            "face_found": np.ones(frames, bool),
            "reference": draw.normal(size=(2, width)).astype(np.float16),
            "reference_index": np.array([2, 15], np.int32),
            "wave": np.zeros(frames * 640, np.int16),
        }
        return ClipSample(key=f"cnas__{speaker}__{number}", meta=about, **(own | fields))

    return make


@pytest.fixture(scope="session")
def negatives_preset(pipeline):
    """One corpus, four negatives of two lengths and four held-out ones, in batches of two."""
    changes = {
        "negatives": {"lengths": (6, 8), "count": 4, "batch": 2, "ddim_steps": 1},
        "generation": {"segment_frames": 6},
        "corpora": {"pats": None},
        "trainer": {"validation_windows": 4},
    }
    return derived(pipeline.preset, changes)


@pytest.fixture
def negatives_store(pipeline, clip_sample, tmp_path):
    """Four clips to train on, two held out, and the checkpoint that makes the negatives."""
    store, rows = Store(str(tmp_path)), []
    for split, names in (("train", "aabb"), ("test", "ab")):
        samples = [clip_sample(speaker, n, split) for n, speaker in enumerate(names)]
        made = write_shards(store, f"shards/cnas/{split}", samples, clips_per_shard=4)
        rows += [row | {"fingerprint": row["checksum"]} for row in made]
    write_index(store, "training_shards", "cnas", rows)
    with store.writing_folder(FOR_NEGATIVES) as folder:
        pipeline.univdm.save_pretrained(folder)
        described = {"fingerprint": "half-trained", "step": pipeline.preset.negatives_step}
        (folder / "training.json").write_text(json.dumps(described))
    return store
