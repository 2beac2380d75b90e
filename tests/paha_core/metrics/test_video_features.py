"""FVD: preprocessing pixel by pixel, I3D's file, the distance."""

from pathlib import Path

import numpy as np
import pytest
import torch

from paha_core.metrics.frechet import FrechetReference, frechet_of_features
from paha_core.metrics.video_features import I3D, preprocess, video_features, windows_of


def bilinear(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Written out: output pixel i lies at (i + 0.5) * in/out - 0.5, edges clamped."""
    out = np.zeros((*size, 3))
    height, width = picture.shape[:2]
    for i in range(size[0]):
        y = max((i + 0.5) * height / size[0] - 0.5, 0)
        y0, y1, wy = int(y), min(int(y) + 1, height - 1), y - int(y)
        for j in range(size[1]):
            x = max((j + 0.5) * width / size[1] - 0.5, 0)
            x0, x1, wx = int(x), min(int(x) + 1, width - 1), x - int(x)
            upper = (1 - wx) * picture[y0, x0] + wx * picture[y0, x1]
            lower = (1 - wx) * picture[y1, x0] + wx * picture[y1, x1]
            out[i, j] = (1 - wy) * upper + wy * lower
    return out


@pytest.mark.parametrize(("height", "width", "scaled"), [(12, 20, (8, 14)), (20, 12, (14, 8))])
def test_preprocessing_pixel_by_pixel(height: int, width: int, scaled: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    found = preprocess(frames, 8)
    assert found.shape == (3, 2, 8, 8)
    for t in range(2):
        wanted = bilinear(frames[t] / 255.0, scaled)
        top, left = (scaled[0] - 8) // 2, (scaled[1] - 8) // 2
        wanted = 2 * wanted[top : top + 8, left : left + 8] - 1
        np.testing.assert_allclose(found[:, t].permute(1, 2, 0).numpy(), wanted, atol=1e-5)


def test_black_and_white_are_the_ends() -> None:
    white = np.full((1, 9, 9, 3), 255, np.uint8)
    assert preprocess(white, 5).unique().tolist() == [1]
    assert preprocess(0 * white, 5).unique().tolist() == [-1]


@pytest.mark.parametrize(("frames", "count"), [(15, 0), (16, 1), (23, 1), (24, 2), (57, 6)])
def test_windows_of_16_frames(frames: int, count: int) -> None:
    video = torch.arange(frames).expand(3, 1, 1, frames).permute(0, 3, 1, 2)
    windows = windows_of(video)
    assert windows.shape == (count, 3, 16, 1, 1)
    if count > 1:
        assert windows[1, 0, :, 0, 0].tolist() == list(range(8, 24))


class Logits(torch.nn.Module):
    """Called as the published I3D file is: mean colours, as often as it takes."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.copies = copies

    def forward(self, x, rescale: bool, resize: bool, return_features: bool):
        assert not rescale
        assert not resize
        assert return_features
        return x.mean([2, 3, 4]).repeat_interleave(self.copies, 1)[:, :400]


def test_i3d_from_a_torchscript_file(tmp_path: Path) -> None:
    path = tmp_path / "i3d.pt"
    torch.jit.script(Logits(134)).save(str(path))
    space = I3D(path)
    assert len(space.sha256) == 64
    frames = np.zeros((24, 32, 32, 3), np.uint8)
    frames[..., 0] = 255
    features = video_features(space, frames)
    assert features.shape == (2, 400)
    np.testing.assert_allclose(features[:, [0, 134, 399]], [[1, -1, -1]] * 2, atol=1e-6)


def test_i3d_errors_name_the_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no I3D weights"):
        I3D(tmp_path / "none.pt")
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"hello")
    with pytest.raises(ValueError, match="not a TorchScript"):
        I3D(bad)
    torch.jit.script(Logits(1)).save(str(bad))
    with pytest.raises(ValueError, match=r"\[1, 3\] of a window, not \[1, 400\]: it is not I3D"):
        I3D(bad)
    torch.jit.script(torch.nn.Identity()).save(str(bad))
    with pytest.raises(ValueError, match="can't be called as I3D"):
        I3D(bad)


@pytest.mark.parametrize(("samples", "dimensions"), [(6, 40), (200, 12), (2, 3)])
def test_the_quick_distance_is_the_plain_one(samples: int, dimensions: int) -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(60, dimensions)) @ rng.normal(size=(dimensions, dimensions))
    made = rng.normal(1, 2, size=(samples, dimensions))
    quick, plain = FrechetReference(real).distance(made), frechet_of_features(made, real)
    assert quick == pytest.approx(plain, rel=1e-6, abs=1e-6)
    assert FrechetReference(real).distance(real) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="at least 2"):
        FrechetReference(real).distance(made[:1])
