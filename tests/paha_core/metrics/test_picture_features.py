"""FID's and LPIPS' files: called as published code calls them, others refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from paha_core.metrics.picture_features import LPIPS, Inception


class Pool(torch.nn.Module):
    """Called as the published Inception file is: mean colours, as often as it takes."""

    def __init__(self, copies: int = 683) -> None:
        super().__init__()
        self.copies = copies

    def forward(self, img, return_features: bool):
        assert img.dtype == torch.uint8
        assert return_features
        return img.float().mean([2, 3]).repeat_interleave(self.copies, 1)[:, :2048]


class Colours(torch.nn.Module):
    """Called as the published VGG16 file is: a vector of the mean colour, 0 to 1, and the side."""

    def forward(self, img, resize_images: bool, return_lpips: bool):
        assert not resize_images
        assert return_lpips
        side = torch.full((len(img), 1), float(img.shape[2]))
        return torch.cat([img.mean([2, 3]) / 255, side], dim=1)


def scripted(module: torch.nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def test_four_pictures_of_a_clip_are_spread_over_it(tmp_path: Path) -> None:
    space = Inception(scripted(Pool(), tmp_path / "pool.pt"))
    assert len(space.sha256) == 64
    frames = np.zeros((80, 8, 8, 3), np.uint8)
    frames[..., 0] = np.arange(80)[:, None, None]
    features = space.features(frames)
    assert features.shape == (4, 2048)
    assert features[:, 0].tolist() == [10, 30, 50, 70]
    assert features[:, 683].tolist() == [0, 0, 0, 0]
    assert space.features(frames[:2]).shape == (2, 2048)
    assert space.features(frames[:0]).shape == (0, 2048)


def test_lpips_is_a_squared_distance_at_256_pixels_or_less(tmp_path: Path) -> None:
    network = LPIPS(scripted(Colours(), tmp_path / "vgg16.pt"))
    black, white = np.zeros((2, 300, 300, 3), np.uint8), np.full((2, 300, 300, 3), 255, np.uint8)
    assert network.distances(black, white).tolist() == [3, 3]
    assert network.distances(white, white).tolist() == [0, 0]
    small, large = black[:, :64, :64], black[:, :256, :256]
    assert network.distances(small, large).tolist() == [192**2] * 2  # neither is enlarged
    assert network.distances(large, black).tolist() == [0, 0]


@pytest.mark.parametrize(("kind", "name"), [(Inception, "Inception"), (LPIPS, "LPIPS")])
def test_a_file_of_another_kind_is_refused_in_a_sentence(kind, name, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no {name} weights"):
        kind(tmp_path / "none.pt")
    path = tmp_path / "bad.pt"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="not a TorchScript"):
        kind(path)
    with pytest.raises(ValueError, match="can't be called as"):
        kind(scripted(torch.nn.Identity(), path))


def test_a_network_of_other_features_is_not_fids(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[1, 3\] of a picture, not \[1, 2048\]"):
        Inception(scripted(Pool(1), tmp_path / "small.pt"))
