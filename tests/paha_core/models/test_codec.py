"""The latent codec: whatever the autoencoder, known by its weights, on latents of unit variance."""

import shutil

import numpy as np
import pytest
import torch

from paha_core.config import CodecConfig
from paha_core.models.codec import new_autoencoder, open_codec

SMALL = CodecConfig(size=32, block_out_channels=(8, 8), layers_per_block=1, norm_groups=4, patch=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("codec") / "vae"
    new_autoencoder(SMALL).save_pretrained(made)
    return made


def named(folder):
    return open_codec(SMALL.model_copy(update={"pretrained": str(folder)}), None)


def test_it_is_known_by_its_weights_wherever_they_lie(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    codec = named(folder)
    assert codec.sha256 == named(moved).sha256 == open_codec(SMALL, folder).sha256
    assert (codec.name, open_codec(SMALL, folder).name) == ("autoencoder-kl:vae", "small-kl-f4")
    assert not any(p.requires_grad for p in codec.autoencoder.parameters())
    other = new_autoencoder(SMALL)
    other.save_pretrained(tmp_path / "other")
    assert named(tmp_path / "other").sha256 != codec.sha256


def test_frames_become_latents_of_the_grid_and_frames_again(folder):
    codec = open_codec(SMALL, folder)
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    latents = codec.encode(frames)
    assert latents.shape == (3, codec.channels, 32 // codec.factor, 32 // codec.factor)
    assert codec.decode(latents).shape == frames.shape


def test_absent_weights_name_the_preset_key():
    with pytest.raises(FileNotFoundError, match=r"codec\.pretrained: no folder /nowhere"):
        named("/nowhere")
    with pytest.raises(FileNotFoundError, match="run `paha run latent_codec` first"):
        open_codec(SMALL, None)
