"""UNetSD's layout to diffusers': the converted network computes what the original does."""

import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.embeddings import Timesteps
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.errors import UserError
from paha_core.models.modelscope import convert, convert_file
from paha_core.models.univdm import UniVDM
from paha_core.models.weight_files import load_base_weights

DIM, CONTEXT, EXTRA, HEAD, GROUPS = 64, 24, 8, 64, 32


class Residual(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * DIM, out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, out), nn.SiLU(), nn.Dropout(0), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)
        self.temopral_conv = TemporalConvLayer(out, out, dropout=0.1)
        nn.init.normal_(self.temopral_conv.conv4[-1].weight, std=0.05)

    def forward(self, x, e, context, frames):
        h = self.out_layers(self.in_layers(x) + self.emb_layers(e)[..., None, None])
        return self.temopral_conv(self.skip_connection(x) + h, num_frames=frames)


class Spatial(Transformer2DModel):
    def __init__(self, channels):
        settings = {"num_layers": 1, "cross_attention_dim": CONTEXT, "use_linear_projection": True}
        super().__init__(channels // HEAD, HEAD, in_channels=channels, **settings)

    def forward(self, x, e, context, frames):
        return super().forward(x, encoder_hidden_states=context, return_dict=False)[0]


class Temporal(TransformerTemporalModel):
    def __init__(self, channels, heads=None):
        super().__init__(heads or channels // HEAD, HEAD, in_channels=channels, num_layers=1)

    def forward(self, x, e, context, frames):
        return super().forward(x, num_frames=frames, return_dict=False)[0]


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, e, context, frames):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Down(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x, e, context, frames):
        return self.op(x)


class UNetSD(nn.Module):
    """The original's order of blocks, at two levels of one layer."""

    def __init__(self):
        super().__init__()
        one, two = DIM, 2 * DIM
        self.time_embed = nn.Sequential(
            nn.Linear(DIM, 4 * DIM), nn.SiLU(), nn.Linear(4 * DIM, 4 * DIM)
        )
        self.dwpose_embedding = nn.Conv2d(3, 4, 3)  # a condition the base network does not have
        self.input_blocks = nn.ModuleList(
            [
                nn.ModuleList([nn.Conv2d(4 + EXTRA, DIM, 3, padding=1), Temporal(DIM, heads=8)]),
                nn.ModuleList([Residual(one, one), Spatial(one), Temporal(one)]),
                Down(one),
                nn.ModuleList([Residual(one, two)]),
            ]
        )
        self.middle_block = nn.ModuleList(
            [Residual(two, two), Spatial(two), Temporal(two), Residual(two, two)]
        )
        self.output_blocks = nn.ModuleList(
            [
                nn.ModuleList([Residual(two + two, two)]),
                nn.ModuleList([Residual(two + one, two), Up(two)]),
                nn.ModuleList([Residual(two + one, one), Spatial(one), Temporal(one)]),
                nn.ModuleList([Residual(one + one, one), Spatial(one), Temporal(one)]),
            ]
        )
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, DIM), nn.SiLU(), nn.Conv2d(DIM, 4, 3, padding=1)
        )

    def forward(self, x, t, context):
        batch, _, frames, *_ = x.shape
        e = self.time_embed(Timesteps(DIM, True, 0)(t)).repeat_interleave(frames, 0)
        given = (e, context.repeat_interleave(frames, 0), frames)
        x = x.transpose(1, 2).flatten(0, 1)
        x = torch.cat([x, x.new_zeros(len(x), EXTRA, *x.shape[2:])], dim=1)
        x = self.input_blocks[0][1](self.input_blocks[0][0](x), *given)
        skips = [x]
        for block in self.input_blocks[1:]:
            for part in block if isinstance(block, nn.ModuleList) else [block]:
                x = part(x, *given)
            skips.append(x)
        for part in self.middle_block:
            x = part(x, *given)
        for block in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            for part in block:
                x = part(x, *given)
        return self.out(x).unflatten(0, (batch, frames)).transpose(1, 2)


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    return UNetSD().eval()


@pytest.fixture(scope="module")
def state(original):
    """As the original saves it: projections of temporal transformers are convolutions."""
    state = dict(original.state_dict())
    for name, module in original.named_modules():
        if isinstance(module, Temporal):
            for part in ("proj_in", "proj_out"):
                state[f"{name}.{part}.weight"] = state[f"{name}.{part}.weight"][..., None]
    return state


def test_the_converted_network_computes_the_same(original, state, tmp_path):
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in state.items()}, "step": 7}, tmp_path / "a.pth"
    )
    made = convert_file(tmp_path / "a.pth", tmp_path / "out")
    assert made.left_out == ["dwpose_embedding.bias", "dwpose_embedding.weight"]
    network = UNet3DConditionModel.from_pretrained(tmp_path / "out", use_safetensors=True).eval()
    x, t, context = torch.randn(2, 4, 3, 8, 8), torch.tensor([7, 900]), torch.randn(2, 4, CONTEXT)
    with torch.no_grad():
        expected, found = original(x, t, context), network(x, t, context).sample
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_univdm_takes_the_converted_folder(state, tmp_path):
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "a.safetensors")
    command = ["weights", "convert", str(tmp_path / "a.safetensors"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "left out 2 tensors of: dwpose_embedding" in result.output
    model = UniVDM(
        block_out_channels=(DIM, 2 * DIM),
        attention_levels=(True, False),
        layers_per_block=1,
        cross_attention_dim=CONTEXT,
        reference_width=12,
        audio_layers=1,
        audio_width=4,
    )
    load_base_weights(model, tmp_path / "out")
    taken = state["input_blocks.0.0.weight"]
    assert torch.equal(model.conv_in.weight[:, :4], taken[:, :4])
    assert not model.conv_in.weight[:, 4:].any()


def test_every_key_of_the_full_size_network_has_a_place():
    """The full-size names, made by inverting the map on UNetSD's block numbers."""
    with torch.device("meta"):
        full = UNet3DConditionModel()
    names = full.state_dict()
    numbers = {"down_blocks": [1, 4, 7, 10], "up_blocks": [0, 3, 6, 9]}
    old = {}
    for name, value in names.items():
        group, _, rest = name.partition(".")
        if group in numbers:
            level, part, layer, tail = rest.split(".", 3)
            block = numbers[group][int(level)] + int(layer)
            attends = int(level) < 3 if group == "down_blocks" else int(level) > 0
            old[_old_name(group, int(level), block, part, tail, attends)] = value
        elif group == "mid_block":
            part, layer, tail = rest.split(".", 2)
            place = 3 if layer == "1" else {"attentions": 1, "temp_attentions": 2}.get(part, 0)
            old[f"middle_block.{place}.{_inner(part, tail)}"] = value
        else:
            renamed = {"time_embedding.linear_1": "time_embed.0", "conv_out": "out.2"}
            renamed |= {"time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0"}
            renamed |= {"conv_in": "input_blocks.0.0", "transformer_in": "input_blocks.0.1"}
            prefix = next(p for p in renamed if name.startswith(p + "."))
            old[renamed[prefix] + name[len(prefix) :]] = value
    made = convert(old)
    assert {k: v.shape for k, v in made.state.items()} == {k: v.shape for k, v in names.items()}
    assert made.left_out == []
    assert made.config["block_out_channels"] == [320, 640, 1280, 1280]
    assert made.config["layers_per_block"] == 2


def _inner(part, tail):
    residual = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
    residual |= {"norm2": "out_layers.0", "conv2": "out_layers.3"}
    residual |= {"conv_shortcut": "skip_connection"}
    if part == "resnets":
        head, _, rest = tail.partition(".")
        return f"{residual[head]}.{rest}"
    return f"temopral_conv.{tail}" if part == "temp_convs" else tail


def _old_name(group, level, block, part, tail, attends):
    if part == "downsamplers":
        return f"input_blocks.{3 * (level + 1)}.op.{tail.removeprefix('conv.')}"
    if part == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{3 if attends else 1}.{tail}"
    row = "input_blocks" if group == "down_blocks" else "output_blocks"
    place = {"attentions": 1, "temp_attentions": 2}.get(part, 0)
    return f"{row}.{block}.{place}.{_inner(part, tail)}"


def test_another_layout_is_refused():
    with pytest.raises(UserError, match="not the UNetSD layout"):
        convert({"conv_in.weight": torch.zeros(1)})


def test_a_pickle_is_not_run(tmp_path):
    import pickle

    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"run": print}))
    result = CliRunner().invoke(app, ["weights", "convert", str(tmp_path / "bad.pth"), "out"])
    assert result.exit_code == 1
    assert "not a checkpoint of tensors alone" in result.output


def test_a_file_that_lacks_a_block_is_refused(state, tmp_path):
    part = {k: v.contiguous() for k, v in state.items() if "middle_block.1" not in k}
    save_file(part, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match="do not fit"):
        convert_file(tmp_path / "part.safetensors", tmp_path / "out")
