"""The losses, and how the classifiers' batches are put together."""

import pytest
import torch

from paha_core.shards.windows import Batch
from paha_core.training.run import step_generator
from paha_core.training.tasks.pairs import accuracy, cross_entropy, masked, paired
from paha_core.training.tasks.univdm import par_loss, region_errors


def batch(fill, size=4, frames=3):
    shape = (size, 2, frames, 4, 4)
    face = torch.zeros(size, 4, 4)
    face[:, :2] = 1
    numbered = torch.arange(size).float()
    return Batch(
        latents=torch.full(shape, float(fill)),
        par=torch.ones(size, frames, 4, 4),
        regions=torch.zeros(size, frames, 4, 4, dtype=torch.uint8),
        audio=numbered.view(-1, 1, 1, 1, 1).expand(-1, frames, 5, 1, 2) + 100 * fill,
        reference_latents=torch.zeros(size, 2, 4, 4),
        reference_embedding=torch.zeros(size, 3),
        first_frame=torch.full((size, 2, 4, 4), float(fill)),
        face_mask=face,
        mismatched_audio=numbered.view(-1, 1, 1, 1, 1).expand(-1, frames, 5, 1, 2) - 100,
        has_mismatch=torch.ones(size) > 0,
        keys=[f"{fill}-{i}" for i in range(size)],
    )


def test_par_loss_weighs_the_error_not_its_square():
    squared = torch.tensor([[[[1.0, 4.0]]]])
    weights = torch.tensor([[[[3.0, 1.0]]]])
    assert par_loss(squared, weights).item() == pytest.approx((3 * 1 + 1 * 4) / 4)


def test_par_loss_with_equal_weights_is_the_mean():
    squared = torch.rand(3, 5, 4, 4)
    torch.testing.assert_close(par_loss(squared, torch.full_like(squared, 7.0)), squared.mean())


def test_par_loss_counts_each_sample_alike():
    squared = torch.stack([torch.zeros(2, 4, 4), torch.ones(2, 4, 4)])
    weights = torch.stack([torch.full((2, 4, 4), 100.0), torch.ones(2, 4, 4)])
    assert par_loss(squared, weights).item() == pytest.approx(0.5)


def test_region_errors_split_the_picture():
    squared = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    regions = torch.tensor([[[[5, 6, 4, 0]]]], dtype=torch.uint8)  # face, hands, body, nothing
    errors = region_errors(squared, regions)
    assert errors == {
        "loss_face": 1.0,
        "loss_hands": 2.0,
        "loss_body": 3.0,
        "loss_background": 4.0,
    }


NONE, ALL = torch.zeros(4) > 0, torch.ones(4) > 0


def test_real_samples_come_first_then_their_generated_negatives():
    pairs = paired(batch(1), batch(2), NONE)
    assert pairs.latents[:, 0, 0, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert pairs.audio[:, 0, 0, 0, 0].tolist() == [100, 101, 102, 103, 200, 201, 202, 203]


def test_mismatched_negatives_are_the_same_picture_with_another_moments_sound():
    pairs = paired(batch(1), batch(2), ALL)
    assert pairs.latents.eq(1).all()
    assert pairs.audio[:, 0, 0, 0, 0].tolist() == [100, 101, 102, 103, -100, -99, -98, -97]
    torch.testing.assert_close(pairs.reference_latents.chunk(2)[0], batch(1).reference_latents)


def test_equation_7_of_pairs_is_binary_cross_entropy():
    logit, label = torch.randn(8), torch.cat([torch.ones(4), torch.zeros(4)])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, label)
    torch.testing.assert_close(cross_entropy(logit), expected)
    assert accuracy(torch.tensor([1.0, -1.0, -1.0, -1.0])) == 0.75


@pytest.mark.parametrize(("part", "rows"), [("face", slice(0, 2)), ("non_face", slice(2, 4))])
def test_a_masked_pair_keeps_its_own_region_in_all_frames(part, rows):
    kept = masked(paired(batch(1), batch(1), NONE), part, 1.0, step_generator(0, 0)).latents
    assert kept[:, :, :, rows].eq(1).all()
    assert kept.sum() == kept.numel() / 2


def test_masks_come_with_their_probability_and_for_both_of_a_pair():
    many = paired(batch(1, size=2000), batch(2, size=2000), torch.zeros(2000) > 0)
    hidden = masked(many, "face", 0.8, step_generator(0, 0)).latents[:, 0, 0, 3, 3].eq(0)
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert hidden[:2000].equal(hidden[2000:])
