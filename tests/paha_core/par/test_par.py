"""PAR against a version that draws what equations 2 and 3 say, pixel by pixel."""

from itertools import islice

import numpy as np
import pytest

from paha_core.config import ParConfig, PoseConfig
from paha_core.corpora.studio import programme
from paha_core.par import BODY_BIT, FACE_BIT, HANDS_BIT, par_weights, region_masks
from paha_core.par.literal import literal_par
from paha_core.pose import open_detector

FACE, HANDS, BODY = range(23, 91), range(91, 133), range(17)
TAU = 0.8


def random_clip(frames, side, seed):
    """Points as a presenter has them: dense face, two hands, body; some off the frame."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.2, 1.2, (frames, 133, 2)) * side
    for part, spread in ((FACE, 0.08), (range(91, 112), 0.05), (range(112, 133), 0.05)):
        centre = rng.uniform(0, 1, (frames, 1, 2)) * side
        points[:, part] = centre + rng.normal(0, spread * side, (frames, len(part), 2))
    scores = rng.uniform(0.5, 1, (frames, 133))
    return points.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize(("side", "grid"), [(512, 64), (256, 32), (256, 8), (64, 8)])
@pytest.mark.parametrize("cap", [None, 15.0])
def test_equals_the_literal_version(side, grid, cap):
    config = ParConfig(cap=cap)
    points, scores = random_clip(3, side, seed=side + grid)
    expected = [literal_par(p, s, side, config, grid) for p, s in zip(points, scores)]
    weights = par_weights(points, scores, (side, side), config, grid)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [512, 256])
def test_equals_the_literal_version_on_detected_keypoints(side):
    """Keypoints as the embedded detector finds them on a drawn presenter."""
    pytest.importorskip("mediapipe")
    torch = pytest.importorskip("torch")
    drawn = programme.prepare("lin", 0, seconds=1, height=side, seed=1)
    left, top, width = drawn.crop
    window = (slice(top, top + width), slice(left, left + width))
    frames = [frame[window] for frame in islice(programme.draw_frames(drawn), 2)]
    found = open_detector(PoseConfig()).detect(frames)
    assert (found.scores > TAU).sum(axis=1).min() > 100
    grid = side // 8
    scene = (found.size, ParConfig(), grid)
    expected = [
        literal_par(p, s, side, ParConfig(), grid) for p, s in zip(found.points, found.scores)
    ]
    weights = par_weights(found.points, found.scores, *scene)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-5)
    tensors = torch.from_numpy(found.points), torch.from_numpy(found.scores)
    torch.testing.assert_close(
        par_weights(*tensors, *scene), torch.tensor(np.float32(expected)), rtol=1e-5, atol=1e-5
    )
    assert weights.max() > 20  # a dense face


def test_rows_and_columns_may_differ():
    points, scores = random_clip(2, 256, seed=8)
    square = par_weights(points, scores, (256, 256), ParConfig(), (32, 32))
    np.testing.assert_array_equal(square, par_weights(points, scores, (256, 256), ParConfig(), 32))
    flat = par_weights(points, scores, (256, 256), ParConfig(), (32, 8))
    np.testing.assert_allclose(flat, square.reshape(2, 32, 8, 4).mean(axis=3), rtol=1e-5)
    regions = region_masks(points, scores, (256, 512), ParConfig(), (32, 64))
    assert regions.shape == (2, 32, 64)
    narrow = region_masks(points, scores, (256, 256), ParConfig(), 32)
    bits = FACE_BIT | HANDS_BIT
    np.testing.assert_array_equal(regions[:, :, :32] & bits, narrow & bits)


def test_points_not_above_the_threshold_change_nothing():
    points, scores = random_clip(4, 256, seed=1)
    scores[:, ::5] = np.float32(TAU)  # exactly tau is not above tau
    config = ParConfig(threshold=float(np.float32(TAU)))
    weights = par_weights(points, scores, (256, 256), config, 32)
    regions = region_masks(points, scores, (256, 256), config, 32)
    unreliable = scores <= np.float32(TAU)
    moved = np.where(unreliable[..., None], np.nan, points)
    silent = np.where(unreliable, 0, scores)
    np.testing.assert_array_equal(par_weights(moved, silent, (256, 256), config, 32), weights)
    np.testing.assert_array_equal(region_masks(moved, silent, (256, 256), config, 32), regions)


def test_weight_is_never_under_the_base():
    points, scores = random_clip(8, 256, seed=2)
    config = ParConfig()
    weights = par_weights(points, scores, (256, 256), config, 32)
    only_body = np.where(np.arange(133) < 17, scores, 0)
    base = par_weights(points, only_body, (256, 256), config, 32)
    assert (weights >= base).all()
    assert base.min() >= 1
    assert base.max() == config.body_weight


def test_no_reliable_point_means_weight_one():
    weights = par_weights(np.zeros((2, 133, 2)), np.zeros((2, 133)), (512, 512), ParConfig(), 64)
    np.testing.assert_array_equal(weights, 1)


def test_pixel_numbers_scale_with_the_clip():
    """The same scene at half the size has nearly the same weights: only the pixels are coarser."""
    points, scores = random_clip(6, 512, seed=3)
    points = np.round(points)
    large = par_weights(points, scores, (512, 512), ParConfig(), 32)
    small = par_weights(points / 2, scores, (256, 256), ParConfig(), 32)
    assert np.abs(large - small).mean() < 0.04 * (large - 1).mean()


def test_non_square_frames_scale_by_the_shorter_side():
    points, scores = random_clip(2, 512, seed=4)
    square = par_weights(points, scores, (512, 512), ParConfig(), 64)
    wide = par_weights(points, scores, (512, 1024), ParConfig(), 64)
    left = wide[:, :, :32].mean(axis=2)
    np.testing.assert_allclose(left, square.mean(axis=2), rtol=1e-4)


def test_torch_equals_numpy():
    torch = pytest.importorskip("torch")
    points, scores = random_clip(3, 256, seed=5)
    arguments = ((256, 256), ParConfig(), 16)
    weights = par_weights(torch.from_numpy(points), torch.from_numpy(scores), *arguments)
    regions = region_masks(torch.from_numpy(points), torch.from_numpy(scores), *arguments)
    assert weights.dtype == torch.float32
    np.testing.assert_array_equal(weights.numpy(), par_weights(points, scores, *arguments))
    np.testing.assert_array_equal(regions.numpy(), region_masks(points, scores, *arguments))


def test_regions_say_which_part_covers_a_quarter_of_a_cell():
    side, grid = 256, 32
    points, scores = random_clip(3, side, seed=6)
    masks = region_masks(points, scores, (side, side), ParConfig(), grid)
    ys, xs = np.mgrid[:side, :side]
    for t in range(3):
        for bit, part in ((FACE_BIT, FACE), (HANDS_BIT, HANDS)):
            drawn = np.zeros((side, side), bool)
            for p in part:
                if scores[t, p] > TAU:
                    x, y = np.floor(points[t, p])
                    drawn |= (xs - x) ** 2 + (ys - y) ** 2 <= 5**2
            share = drawn.reshape(grid, 8, grid, 8).mean(axis=(1, 3))
            np.testing.assert_array_equal((masks[t] & bit) > 0, share >= 0.25)
        body = np.floor([points[t, p] for p in BODY if scores[t, p] > TAU])
        (x0, y0), (x1, y1) = body.min(axis=0), body.max(axis=0)
        drawn = (xs >= x0) & (xs <= x1) & (ys >= y0) & (ys <= y1)
        share = drawn.reshape(grid, 8, grid, 8).mean(axis=(1, 3))
        np.testing.assert_array_equal((masks[t] & BODY_BIT) > 0, share >= 0.25)


def test_bad_input_is_named():
    points, scores = random_clip(2, 256, seed=7)
    with pytest.raises(ValueError, match="does not divide"):
        par_weights(points, scores, (256, 256), ParConfig(), 48)
    with pytest.raises(ValueError, match=r"\[T, 133, 2\]"):
        par_weights(points[:, :17], scores, (256, 256), ParConfig(), 32)
    points[0, np.argmax(scores[0])] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        par_weights(points, scores, (256, 256), ParConfig(), 32)
