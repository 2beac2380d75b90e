"""Precision and repeatability of generation."""

import pytest
import torch

from paha_core.config import derived, load_preset
from paha_core.inference.precision import repeatable
from paha_core.inference.untrained import untrained_pipeline


def test_a_gpu_may_not_fall_back_to_what_does_not_repeat():
    """A warning alone would leave PyTorch's attention backward as it is: not deterministic."""
    with repeatable("cuda", "fp32"):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with repeatable("cpu", "fp32"):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("precision", "allowed"), [("fp32", False), ("bf16", False), ("tf32", True)]
)
def test_tf32_is_used_only_where_it_is_asked_for(precision, allowed):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with repeatable("cuda", precision):
        assert torch.backends.cuda.matmul.allow_tf32 == allowed
        assert torch.backends.cudnn.allow_tf32 == allowed
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_guided_video_repeats_bit_for_bit_on_a_gpu(precision, compiled, inputs, tmp_path):
    from paha_core.inference.pipeline import Settings
    from paha_core.inference.video_file import Request, make_video

    preset = derived(load_preset("smoke"), {"generation": {"compile": compiled}})
    pipeline = untrained_pipeline(preset, "cuda")
    settings = Settings(mode="differential", steps=4, force=True, precision=precision)
    hashes = {
        make_video(pipeline, Request(*inputs, tmp_path / f"{i}.mp4", settings))["video_sha256"]
        for i in range(3)
    }
    assert len(hashes) == 1
