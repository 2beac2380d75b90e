import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.resnet import TemporalConvLayer

from paha_core.models.univdm import UniVDM, network_input
from paha_core.models.univdm_blocks import TemporalConvolution

NEW = ("reference_stem", "reference_projection", "audio_projection", "audio_attentions")


def get_init_dict(**changes):
    return {
        "block_out_channels": (16, 32),
        "attention_levels": (True, False),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
        "reference_width": 12,
        "audio_layers": 2,
        "audio_width": 6,
        "audio_tokens": 2,
        "audio_dim": 16,
        "audio_hidden": 16,
    } | changes


def get_dummy_inputs(batch=2, frames=5, size=8, first_frame=False):
    draw = torch.Generator().manual_seed(0)
    noisy = torch.randn(batch, 4, frames, size, size, generator=draw)
    first = torch.randn(batch, 4, size, size, generator=draw) if first_frame else None
    return {
        "sample": network_input(noisy, first),
        "timestep": torch.randint(1000, (batch,), generator=draw),
        "reference_latents": torch.randn(batch, 4, size, size, generator=draw),
        "reference_embedding": torch.randn(batch, 12, generator=draw),
        "audio": torch.randn(batch, frames, 5, 2, 6, generator=draw),
    }


@pytest.fixture
def model():
    torch.manual_seed(0)
    return UniVDM(**get_init_dict())


@pytest.fixture
def hearing(model):
    """Its audio gates are open and its temporal convolutions change something: as if trained."""
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
    stem, reference, voice, listening = 933_760, 4_200_448, 36_465_152, 43_987_520
    counts = [sum(v.numel() for k, v in new.items() if part in k) for part in NEW]
    assert counts == [stem, reference, voice, listening]
    channels = 5 * 320 * 9  # of conv_in, for the first frame and its mask
    assert sum(v.numel() for v in new.values()) == 1_411_233_860 + channels + sum(counts)


def test_a_fresh_network_does_not_hear(model):
    inputs = get_dummy_inputs()
    deaf = model(**inputs | {"audio": None})
    assert torch.equal(model(**inputs), deaf)
    assert deaf.shape == (2, 4, 5, 8, 8)


def test_audio_of_a_frame_reaches_the_output_once_the_gate_opens(hearing):
    inputs = get_dummy_inputs()
    other = inputs["audio"].clone()
    other[:, 2] += 1
    change = (hearing(**inputs) - hearing(**inputs | {"audio": other})).abs().amax(dim=(0, 1, 3, 4))
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


def test_network_input_marks_only_given_first_frames():
    noisy, first = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 4, 8, 8)
    made = network_input(noisy, first, torch.tensor([True, False]))
    assert made.shape == (2, 9, 3, 8, 8)
    assert torch.equal(made[:, :4], noisy)
    assert torch.equal(made[0, 4:8, 0], first[0])
    assert made[0, 8].mean(dim=(1, 2)).tolist() == [1, 0, 0]
    assert not made[1, 4:].any()  # the second sample starts from pure noise
    black = network_input(noisy, torch.zeros_like(first))  # without a word all are given
    assert black[:, 8, 0].eq(1).all()


def test_encode_then_decode_is_forward(hearing):
    inputs = get_dummy_inputs()
    encoded = hearing.encode(*inputs.values())
    assert torch.equal(hearing.decode(encoded), hearing(**inputs))


def test_gradient_checkpointing_changes_nothing(hearing):
    inputs = get_dummy_inputs()

    def outcome():
        hearing.zero_grad()
        made = hearing.train()(**inputs)
        made.square().mean().backward()
        return made, [p.grad.clone() for p in hearing.parameters() if p.grad is not None]

    plain, plain_gradients = outcome()
    hearing.enable_gradient_checkpointing()
    again, gradients = outcome()
    assert torch.equal(plain, again)
    assert all(torch.equal(a, b) for a, b in zip(plain_gradients, gradients, strict=True))
    assert sum(bool(gradient.any()) for gradient in gradients) == len(gradients)


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
