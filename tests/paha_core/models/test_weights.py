import pytest
import torch
from diffusers import UNet3DConditionModel

from paha_core.models.univdm import UniVDM
from paha_core.models.weights import load_base_weights

BASE = {
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "norm_num_groups": 4,
}
OURS = {
    "block_out_channels": (16, 32),
    "attention_levels": (True, False),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "norm_num_groups": 4,
}


def test_a_base_checkpoint_fits_and_new_channels_start_at_zero(tmp_path):
    base = UNet3DConditionModel(**BASE)
    base.save_pretrained(tmp_path)
    model = UniVDM(**OURS)
    load_base_weights(model, tmp_path)
    ours, theirs = model.state_dict(), base.state_dict()
    assert torch.equal(ours["conv_in.weight"][:, :4], theirs["conv_in.weight"])
    assert not ours["conv_in.weight"][:, 4:].any()
    assert all(torch.equal(ours[k], v) for k, v in theirs.items() if k != "conv_in.weight")


def test_another_network_is_refused_by_key(tmp_path):
    UNet3DConditionModel(**BASE | {"layers_per_block": 2}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="do not fit"):
        load_base_weights(UniVDM(**OURS), tmp_path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"univdm\.network\.pretrained"):
        load_base_weights(UniVDM(**OURS), tmp_path)
