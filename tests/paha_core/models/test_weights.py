import pytest
import torch
from diffusers import UNet3DConditionModel

from paha_core.errors import UserError
from paha_core.models.univdm import UniVDM, network_input
from paha_core.models.weight_files import load_base_weights

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
    with pytest.raises(UserError, match="do not fit"):
        load_base_weights(UniVDM(**OURS), tmp_path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"univdm\.network\.pretrained"):
        load_base_weights(UniVDM(**OURS), tmp_path)


# --- at initial values it computes what the base network does -------------------------------------


class FramesOnly(torch.nn.Module):
    """A temporal layer that sees frames 1 to f; slot 0 goes past it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states, num_frames, **rest):
        slots = hidden_states.unflatten(0, (-1, num_frames))
        made = self.layer(slots[:, 1:].flatten(0, 1), num_frames=num_frames - 1, **rest)
        frames = (made[0] if isinstance(made, tuple) else made).unflatten(0, (-1, num_frames - 1))
        joined = torch.cat([slots[:, :1], frames], dim=1).flatten(0, 1)
        return (joined,) if isinstance(made, tuple) else joined


@pytest.fixture
def both(tmp_path):
    """A base network with nothing at zero, and UniVDM with its weights and new modules as made."""
    torch.manual_seed(0)
    base = UNet3DConditionModel(**BASE).eval()
    for name, parameter in base.named_parameters():
        if "temp_convs" in name and "conv4" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    base.save_pretrained(tmp_path)
    model = UniVDM(**OURS, reference_width=12, audio_layers=2, audio_width=6).eval()
    load_base_weights(model, tmp_path)
    return base, model


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    noisy, first = torch.randn(2, 4, 5, 8, 8), torch.randn(2, 4, 8, 8)
    return {
        "sample": network_input(noisy, first),
        "timestep": torch.tensor([30, 800]),
        "reference_latents": torch.randn(2, 4, 8, 8),
        "reference_embedding": torch.randn(2, 12),
        "audio": torch.randn(2, 5, 5, 2, 6),
    }


def agree(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_it_is_the_base_network_on_one_frame_more(both, inputs):
    base, model = both
    context = model.reference_projection(inputs["reference_embedding"])
    stem = model.reference_stem(inputs["reference_latents"])

    def reference_first(module, arguments, features):
        slots = features.unflatten(0, (2, 6)).clone()
        slots[:, 0] = stem
        return slots.flatten(0, 1)

    base.conv_in.register_forward_hook(reference_first)
    noisy = torch.cat([torch.zeros(2, 4, 1, 8, 8), inputs["sample"][:, :4]], dim=2)
    expected = base(noisy, inputs["timestep"], context).sample[:, :, 1:]
    agree(model(**inputs), expected)


@torch.no_grad()
def test_on_frames_it_is_the_base_network_once_slot_0_is_masked_out(both, inputs):
    base, model = both
    model.transformer_in = FramesOnly(model.transformer_in)
    for block in [*model.down_blocks, model.mid_block, *model.up_blocks]:
        for layers in (block.temp_convs, getattr(block, "temp_attentions", [])):
            for i, layer in enumerate(layers):
                layers[i] = FramesOnly(layer)
    context = model.reference_projection(inputs["reference_embedding"])
    expected = base(inputs["sample"][:, :4], inputs["timestep"], context).sample
    agree(model(**inputs), expected)


def test_a_pipelines_folder_and_a_file_of_pickled_tensors_are_read(tmp_path):
    base = UNet3DConditionModel(**BASE).half()
    base.save_pretrained(tmp_path / "unet", safe_serialization=False)
    assert (tmp_path / "unet" / "diffusion_pytorch_model.bin").is_file()
    model = UniVDM(**OURS)
    load_base_weights(model, tmp_path)
    taken = model.state_dict()
    assert taken["conv_out.weight"].dtype == torch.float32
    assert torch.equal(taken["conv_out.weight"], base.state_dict()["conv_out.weight"].float())
