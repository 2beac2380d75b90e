"""Reference encoders: what the embedding is, against transformers' own preprocessing."""

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from paha_core.config import ReferenceConfig
from paha_core.errors import UserError
from paha_core.models.reference_encoder import Clip, PooledPixels, open_reference_encoder


def pictures(n=2, height=64, width=64):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def test_pooled_pixels_are_area_means():
    frames = pictures()
    embedding = open_reference_encoder(ReferenceConfig(encoder="pooled_pixels")).encode(frames)
    assert embedding.shape == (2, 192)
    assert embedding.dtype == np.float16
    cell = frames[1, 8:16, 56:64].reshape(-1, 3).mean(0) / 127.5 - 1
    np.testing.assert_allclose(embedding[1].reshape(8, 8, 3)[1, 7], cell, atol=1e-3)


def test_pooled_pixels_span_minus_one_to_one():
    frames = np.stack([np.zeros((40, 50, 3), np.uint8), np.full((40, 50, 3), 255, np.uint8)])
    embedding = PooledPixels().encode(frames)
    assert (embedding[0] == -1).all()
    assert (embedding[1] == 1).all()


def test_frames_of_another_type_are_refused():
    with pytest.raises(ValueError, match="uint8 RGB"):
        PooledPixels().encode(pictures().astype(np.float32))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=24,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_clip_embeds_as_transformers_does(clip_folder, size):
    frames = pictures(3, *size)
    encoder = open_reference_encoder(ReferenceConfig(pretrained=clip_folder))
    embedding = encoder.encode(frames)
    assert embedding.shape == (3, 24)
    assert encoder.width == 24
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    pixels = processor(list(frames), return_tensors="pt")["pixel_values"]
    model = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        expected = model(pixel_values=pixels).image_embeds.numpy()
    np.testing.assert_allclose(embedding, expected, atol=0.02)


def test_clip_hash_and_errors(clip_folder):
    assert Clip(clip_folder).sha256 == Clip(clip_folder).sha256
    with pytest.raises(FileNotFoundError, match=r"reference\.pretrained: no folder /nowhere"):
        open_reference_encoder(ReferenceConfig(pretrained="/nowhere"))
    with pytest.raises(UserError, match=r"needs reference\.pretrained"):
        open_reference_encoder(ReferenceConfig())
