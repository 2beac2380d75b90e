from collections import Counter

import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from torch.utils._python_dispatch import TorchDispatchMode

from paha_core.models.univdm import UniVDM, network_input
from paha_core.models.univdm_blocks import PlainAttention, ResnetBlock, TemporalConvolution
from tiny_univdm import TINY

NEW = ("reference_stem", "reference_projection", "audio_projection", "audio_attentions")


def get_init_dict(**changes):
    wider = {"block_out_channels": (16, 32), "attention_levels": (True, False), "audio_layers": 2}
    return TINY | wider | changes


def get_dummy_inputs(batch=2, frames=5, size=8, first_frame=False):
    draw = torch.Generator().manual_seed(0)
    noisy = torch.randn(batch, 4, frames, size, size, generator=draw)
    first = torch.randn(batch, 4, size, size, generator=draw) if first_frame else None
    return {
        "sample": network_input(noisy, first),
        "timestep": torch.randint(1000, (batch,), generator=draw),
        "reference_latents": torch.randn(batch, 4, size, size, generator=draw),
        "reference_embedding": torch.randn(batch, 6, generator=draw),
        "audio": torch.randn(batch, frames, 5, 2, 4, generator=draw),
    }


@pytest.fixture
def model():
    torch.manual_seed(0)
    return UniVDM(**get_init_dict())


@pytest.fixture
def trained(model):
    """Output projections of audio attention and temporal convolutions are not zero any more."""
    for name, parameter in model.named_parameters():
        if ("audio_attentions" in name and "to_out" in name) or "conv4" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_full_size_has_every_weight_of_the_base_network():
    with torch.device("meta"):
        ours, base = UniVDM(), UNet3DConditionModel()
    new = {k: v.shape for k, v in ours.state_dict().items()}
    old = {k: v.shape for k, v in base.state_dict().items()}
    added = {k for k in new if any(part in k for part in NEW)}
    assert set(new) - added == set(old)
    assert {k for k in old if new[k] != old[k]} == {"conv_in.weight"}
    assert new["conv_in.weight"] == (320, 9, 3, 3)
    assert sum(v.numel() for v in old.values()) == 1_411_233_860
    stem, reference, audio, attentions = 933_760, 4_200_448, 36_465_152, 43_987_520
    counts = [sum(v.numel() for k, v in new.items() if part in k) for part in NEW]
    assert counts == [stem, reference, audio, attentions]
    channels = 5 * 320 * 9  # of conv_in, for the first frame and its mask
    assert sum(v.numel() for v in new.values()) == 1_411_233_860 + channels + sum(counts)


def test_a_fresh_network_ignores_audio(model):
    inputs = get_dummy_inputs()
    without = model(**inputs | {"audio": None})
    assert torch.equal(model(**inputs), without)
    assert without.shape == (2, 4, 5, 8, 8)


def test_audio_of_a_frame_reaches_the_output_once_the_gate_opens(trained):
    inputs = get_dummy_inputs()
    other = inputs["audio"].clone()
    other[:, 2] += 1
    change = (trained(**inputs) - trained(**inputs | {"audio": other})).abs().amax(dim=(0, 1, 3, 4))
    assert change.argmax() == 2


@pytest.mark.parametrize("frames", [1, 3, 16])
def test_any_frame_count(model, frames):
    assert model(**get_dummy_inputs(frames=frames)).shape[2] == frames


def test_odd_latent_sizes_come_back(model):
    assert model(**get_dummy_inputs(size=7)).shape[-2:] == (7, 7)


def test_reference_and_first_frame_matter(model):
    inputs = get_dummy_inputs(first_frame=True)
    made = model(**inputs)
    assert not torch.equal(
        made, model(**inputs | {"reference_latents": -inputs["reference_latents"]})
    )
    without = network_input(inputs["sample"][:, :4], None)
    assert not torch.equal(made, model(**inputs | {"sample": without}))


def test_network_input_marks_only_the_first_frames_that_are_shown():
    noisy, first = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 4, 8, 8)
    made = network_input(noisy, first, torch.tensor([True, False]))
    assert made.shape == (2, 9, 3, 8, 8)
    assert torch.equal(made[:, :4], noisy)
    assert torch.equal(made[0, 4:8, 0], first[0])
    assert made[0, 8].mean(dim=(1, 2)).tolist() == [1, 0, 0]
    assert not made[1, 4:].any()  # the second sample starts from pure noise
    black = network_input(noisy, torch.zeros_like(first))  # by default all are shown
    assert black[:, 8, 0].eq(1).all()


def encoded_conditions(network, inputs):
    names = ("reference_latents", "reference_embedding", "audio")
    return network.encode_conditions(*(inputs[name] for name in names))


def test_conditions_encoded_once_give_the_same_output_at_every_timestep(trained):
    inputs = get_dummy_inputs()
    conditions = encoded_conditions(trained, inputs)
    for timestep in (torch.tensor([3, 999]), torch.tensor([500, 20])):
        expected = trained(**inputs | {"timestep": timestep})
        assert torch.equal(trained.denoise(inputs["sample"], timestep, conditions), expected)


def test_encoded_conditions_are_sliced_and_repeated_like_the_batch(trained):
    inputs = get_dummy_inputs()
    conditions = encoded_conditions(trained, inputs)
    for changed, rows in (
        (conditions.rows(slice(1, 2)), [1]),
        (conditions.repeated(2), [0, 1, 0, 1]),
    ):
        expected = encoded_conditions(trained, {k: v[rows] for k, v in inputs.items()})
        for name in (
            "reference_latents",
            "reference_features",
            "reference_tokens",
            "audio_tokens",
        ):
            torch.testing.assert_close(getattr(changed, name), getattr(expected, name))


def test_a_network_with_a_reference_skip_begins_with_most_of_the_reference():
    """In every frame; trained, its mask says where the content takes the reference's place."""
    model = UniVDM(**get_init_dict(reference_skip=True))
    inputs = get_dummy_inputs()
    still = inputs["reference_latents"][:, :, None].expand(2, 4, 5, 8, 8)
    torch.testing.assert_close(model(**inputs), (1 - torch.tensor(-2.0).sigmoid()) * still)
    torch.nn.init.normal_(model.conv_out.weight)
    conditions = encoded_conditions(model, inputs)
    both = model.decode(model.encode(inputs["sample"], inputs["timestep"], conditions))
    assert both.shape[1] == 8
    mask = both[:, 4:].sigmoid()
    torch.testing.assert_close(model(**inputs), mask * both[:, :4] + (1 - mask) * still)


@pytest.mark.parametrize("training", [True, False])
def test_gradient_checkpointing_changes_nothing(trained, training):
    inputs = get_dummy_inputs()

    def outcome():
        trained.zero_grad()
        sample = inputs["sample"].clone().requires_grad_(True)
        output = trained.train(training)(**inputs | {"sample": sample})
        output.square().mean().backward()
        gradients = [p.grad.clone() for p in trained.parameters() if p.grad is not None]
        return output, [sample.grad, *gradients]

    plain, plain_gradients = outcome()
    trained.enable_gradient_checkpointing()
    again, gradients = outcome()
    assert torch.equal(plain, again)
    assert all(torch.equal(a, b) for a, b in zip(plain_gradients, gradients, strict=True))
    assert sum(bool(gradient.any()) for gradient in gradients) == len(gradients)


def test_each_sublayer_is_computed_twice_with_gradient_checkpointing(trained):
    calls = Counter()
    sublayers = [m for m in trained.modules() if type(m).__name__ in trained._repeated_blocks]
    for module in sublayers:  # before, not after: the second pass stops where it has all it needs
        module.register_forward_pre_hook(lambda module, _: calls.update([module]))
    trained.enable_gradient_checkpointing()
    trained(**get_dummy_inputs()).sum().backward()
    assert [calls[module] for module in sublayers] == [2] * len(sublayers)
    calls.clear()
    with torch.no_grad():
        trained(**get_dummy_inputs())
    assert [calls[module] for module in sublayers] == [1] * len(sublayers)


def test_save_and_load(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = UniVDM.from_pretrained(tmp_path, use_safetensors=True)
    inputs = get_dummy_inputs()
    assert torch.equal(loaded(**inputs), model.eval()(**inputs))


def test_temporal_convolution_is_the_base_layer():
    torch.manual_seed(0)
    base = TemporalConvLayer(8, 8, norm_num_groups=4).eval()
    torch.nn.init.normal_(base.conv4[-1].weight)
    ours = TemporalConvolution(8, 8, norm_num_groups=4).eval()
    ours.load_state_dict(base.state_dict())
    video = torch.randn(2 * 5, 8, 6, 7)
    torch.testing.assert_close(ours(video, num_frames=5), base(video, num_frames=5))


def test_resnet_and_attention_are_the_base_layers_to_the_bit():
    torch.manual_seed(0)
    sizes = {"in_channels": 8, "out_channels": 16, "temb_channels": 12, "eps": 1e-5, "groups": 4}
    base, ours = ResnetBlock2D(**sizes), ResnetBlock(**sizes)
    ours.load_state_dict(base.state_dict())
    video, time = torch.randn(3, 8, 6, 7), torch.randn(3, 12)
    assert torch.equal(ours(video, time), base(video, time))
    attention = Attention(16, cross_attention_dim=10, heads=2, dim_head=8)
    tokens, context = torch.randn(3, 5, 16), torch.randn(3, 4, 10)
    expected = attention(tokens, context)
    attention.set_processor(PlainAttention())
    assert torch.equal(attention(tokens, context), expected)


class Operations(TorchDispatchMode):
    """Counts what is run."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func._overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


def test_no_operation_is_spent_on_options_that_are_off(trained):
    """A small network's step is bound by the number of its kernels."""
    with Operations() as operations:
        trained(**get_dummy_inputs()).sum().backward()
    assert operations.counts["div"] == 1  # of the timestep's frequencies
    assert not operations.counts.keys() & {"native_dropout", "select_backward"}
    heavy = ("convolution", "mm", "addmm", "native_group_norm", "native_layer_norm")
    assert sum(operations.counts[name] for name in heavy) > 100
