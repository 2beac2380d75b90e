"""The patch autoencoder: principal components at first, one interface with AutoencoderKL, crops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from paha_core.config import CodecConfig, TrainerConfig
from paha_core.models.codec import Codec, fold, new_autoencoder, open_codec, to_pixels
from paha_core.training.distributed import SINGLE_PROCESS
from paha_core.training.gradient import GradientAccumulation
from paha_core.training.tasks.codec import (
    CodecTask,
    WeightedFrames,
    contrast_loss,
    edge_loss,
    psnr,
    sharpness,
)

SMALL = CodecConfig(
    architecture="patch", size=32, patch=2, block_out_channels=(16, 16), layers_per_block=1,
    latent_channels=4, latent_noise=0.02, crop=32,
    train={"steps": 30, "batch": 4, "learning_rate": 2e-3, "warmup": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures():
    """Smooth pictures with an edge each, uint8 [24, 64, 64, 3]."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64] / 64
    drawn = []
    for _ in range(24):
        low, high = random.uniform(0, 200, (2, 3))
        across = (x * random.uniform(-1, 1) + y * random.uniform(-1, 1)) > random.uniform(-0.3, 0.3)
        drawn.append(np.where(across[..., None], low, high) + 40 * x[..., None])
    return np.stack(drawn).astype(np.uint8)


def frames(pictures):
    return WeightedFrames(pictures, np.ones((len(pictures), 16, 16), np.float32))


def test_untrained_it_gives_the_principal_components_back(pictures):
    task = CodecTask(SMALL, frames(pictures), frames(pictures[:4]))
    pixels = fold(to_pixels(pictures), SMALL.patch)
    with torch.no_grad():
        latents = task.model.encode(pixels).latent_dist.mode()
        decoded = task.model.decode(latents).sample
    patches = F.pixel_unshuffle(pixels, 2).permute(0, 2, 3, 1).flatten(0, 2)
    centred = patches - patches.mean(0)
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    kept = centred @ components[:4].T @ components[:4] + patches.mean(0)
    linear = 10 * torch.log10(4 / (kept - patches).square().mean())
    assert float(psnr(decoded, pixels)) == pytest.approx(float(linear), abs=0.01)
    torch.testing.assert_close(latents.var((0, 2, 3)), torch.ones(4), rtol=0.05, atol=0)


def test_it_learns_what_the_components_leave_out(pictures):
    task = CodecTask(SMALL, frames(pictures), frames(pictures[:8]))
    before = task.validate(task.model.eval())
    gradient = GradientAccumulation(task, SMALL.train, TrainerConfig(), SINGLE_PROCESS)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=3e-3, weight_decay=0)
    task.model.train()
    for step in range(80):
        gradient.compute(step)
        optimizer.step()
        optimizer.zero_grad()
    after = task.validate(task.model.eval())
    assert after["validation_psnr"] > before["validation_psnr"] + 0.03
    assert after["validation_loss"] < before["validation_loss"]
    assert 0 < after["validation_sharpness"] < 1.2


def test_its_folder_is_opened_by_the_class_that_wrote_it(pictures, tmp_path):
    task = CodecTask(SMALL, frames(pictures), frames(pictures[:4]))
    task.export(task.model.eval(), tmp_path / "codec")
    opened = open_codec(SMALL, tmp_path / "codec")
    assert (opened.name, opened.factor, opened.channels) == ("small-patch-f4", 4, 4)
    latents = opened.encode(pictures[:2])
    assert latents.shape == (2, 4, 16, 16)
    known = Codec(task.model, "", "")
    torch.testing.assert_close(latents, known.encode(pictures[:2]))
    assert np.abs(opened.decode(latents).astype(int) - known.decode(latents)).max() == 0


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_latents_keep_a_power_of_their_part_in_the_picture(pictures, power, tmp_path):
    task = CodecTask(
        SMALL.model_copy(update={"scale_power": power}), frames(pictures), frames(pictures[:4])
    )
    task.export(task.model.eval(), tmp_path / "codec")
    opened = open_codec(SMALL, tmp_path / "codec")
    latents = opened.encode(pictures)
    changed = []  # by one unit of each channel, before the network adds anything: in the linear map
    for unit in torch.eye(4)[:, :, None, None] * opened.std:
        raw = unit.expand(1, 4, 16, 16) * latents.std((0, 2, 3))[:, None, None]
        changed.append(F.conv2d(raw, task.model.linear_decoder).square().mean().sqrt())
    part = torch.stack(changed) ** power
    variance = latents.var((0, 2, 3))
    assert float(variance.mean()) == pytest.approx(1, rel=0.05)
    torch.testing.assert_close(variance.sqrt() / variance[0].sqrt(), part / part[0])
    with pytest.raises(ValueError, match="scale_power needs"):
        CodecConfig(scale_power=power)


def test_its_latents_have_the_noise_of_the_preset(pictures):
    model = new_autoencoder(SMALL)
    posterior = model.encode(fold(to_pixels(pictures[:2]), 2)).latent_dist
    assert posterior.std.mean().item() == pytest.approx(0.02, rel=1e-4)


def test_crops_lie_where_the_weights_are(pictures):
    weights = np.zeros((len(pictures), 16, 16), np.float32)
    weights[:, 2, 13] = 1.0  # at 8..12 pixels from the top, 52..56 from the left
    marked = pictures.copy()
    marked[:, 8:12, 52:56] = 255
    cut = WeightedFrames(marked, weights).crops(6, 32, torch.Generator().manual_seed(0))
    assert cut.pixels.shape == (6, 32, 32, 3)
    assert (cut.weights == 1).all()
    assert (cut.pixels[:, 8:12, 20:24] == 255).all()  # moved inwards to 0..32 and 32..64


def test_blurring_lowers_sharpness_and_costs_at_edges(pictures):
    pixels = to_pixels(pictures[:6])
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    assert (sharpness(blurred) < 0.5 * sharpness(pixels)).all()
    assert edge_loss(blurred, pixels) > 0 == edge_loss(pixels, pixels)
    assert contrast_loss(blurred, pixels) > 0 == contrast_loss(pixels, pixels)


def test_a_sharp_edge_beside_its_place_has_more_contrast_than_a_blurred_one():
    def edge(column: int) -> torch.Tensor:
        return (torch.arange(32) >= column).float().expand(1, 3, 32, 32) * 2 - 1

    blurred = F.avg_pool2d(F.pad(edge(19), (2, 2, 0, 0), mode="replicate"), (1, 5), 1)
    assert contrast_loss(edge(18), edge(19)) == 0  # in the same window
    assert contrast_loss(blurred, edge(19)) > 0.1


def test_settings_that_are_not_used_change_no_identity():
    plain = CodecConfig()
    assert CodecConfig.added.isdisjoint(plain.identity())
    assert SMALL.identity()["architecture"] == "patch"
    assert SMALL.identity()["crop"] == 32


def test_a_crop_must_fit_the_grid():
    with pytest.raises(ValueError, match="crop 36 must be a multiple of 8"):
        CodecConfig(crop=36)
