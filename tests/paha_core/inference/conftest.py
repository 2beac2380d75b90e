"""A portrait, a voice and small networks with random weights, shared by the tests of generation."""

import cv2
import numpy as np
import pytest
import torch

from paha_core.config import load_preset
from paha_core.inference.untrained import untrained_pipeline
from paha_core.media.audio import write_wav
from paha_core.models.trained import NAMES
from paha_core.networks import gate_fingerprint
from paha_core.store import Store


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
def trained_store(pipeline, tmp_path_factory):
    """The networks as a run leaves them; one gate passed, one failed."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    networks = {"univdm": pipeline.univdm, "latent_codec": pipeline.codec.autoencoder}
    networks |= {NAMES[part]: network for part, network in pipeline.classifiers.items()}
    for name, network in networks.items():
        with store.writing_folder(f"checkpoints/{name}/final") as folder:
            network.save_pretrained(folder)
        store.write_json(f"checkpoints/{name}/final/training.json", {"fingerprint": name})
    for name, passed in (("face_classifier", True), ("non_face_classifier", False)):
        verdict = {"passed": passed, "fingerprint": gate_fingerprint(store, pipeline.preset, name)}
        store.write_json(f"checkpoints/{name}/gate.json", verdict)
    return store
