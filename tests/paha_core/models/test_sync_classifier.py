import pytest
import torch

from paha_core.models.sync_classifier import SyncClassifier, rotate_by_position, within
from paha_core.models.univdm import UniVDM
from tiny_univdm import TINY


@pytest.fixture
def univdm():
    torch.manual_seed(0)
    return UniVDM(**TINY)


@pytest.fixture
def classifier(univdm):
    return SyncClassifier.from_univdm(univdm, width=16, layers=2, heads=2)


def inputs(batch=2, frames=5):
    draw = torch.Generator().manual_seed(0)
    return {
        "noised": torch.randn(batch, 4, frames, 8, 8, generator=draw),
        "timestep": torch.tensor([10, 900]),
        "reference_latents": torch.randn(batch, 4, 8, 8, generator=draw),
        "reference_embedding": torch.randn(batch, 6, generator=draw),
        "audio": torch.randn(batch, frames, 5, 1, 4, generator=draw),
    }


@pytest.mark.parametrize("frames", [1, 5, 30])
def test_one_logit_a_sample_for_any_length(classifier, frames):
    assert classifier(**inputs(frames=frames)).shape == (2,)


def test_the_transformer_reads_one_token_a_frame_and_modality(classifier):
    lengths = []
    classifier.transformer.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape))
    classifier(**inputs(frames=7))
    assert lengths == [(2, 7 + 7 + 1, 16)]


def test_it_starts_from_the_encoder_of_univdm_and_leaves_the_decoder(univdm, classifier):
    ours, theirs = classifier.encoder.state_dict(), univdm.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    left = {name.split(".")[0] for name in set(theirs) - set(ours)}
    assert left == {"up_blocks", "conv_norm_out", "conv_out"}


def test_both_ends_reach_the_logit(classifier):
    arguments = inputs()
    noised = arguments["noised"].clone().requires_grad_(True)
    audio = arguments["audio"].clone().requires_grad_(True)
    classifier(**arguments | {"noised": noised, "audio": audio}).sum().backward()
    assert noised.grad.abs().sum() > 0
    assert audio.grad.abs().sum() > 0


@pytest.mark.parametrize("training", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(classifier, training):
    """In evaluation mode those at the latents are what guides."""
    gradients = []
    for recompute in (False, True):
        if recompute:
            classifier.encoder.enable_gradient_checkpointing()
        classifier.train(training).zero_grad()
        noised = inputs()["noised"].requires_grad_(True)
        classifier(**inputs() | {"noised": noised}).sum().backward()
        found = [p.grad.clone() for p in classifier.parameters() if p.grad is not None]
        gradients.append([noised.grad, *found])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_conditions_encoded_once_give_the_same_logit(classifier):
    arguments = inputs()
    names = ("reference_latents", "reference_embedding", "audio")
    conditions = classifier.encode_conditions(*(arguments[name] for name in names))
    score = classifier.score(arguments["noised"], arguments["timestep"], conditions)
    assert torch.equal(score, classifier(**arguments))


def test_save_and_load(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    loaded = SyncClassifier.from_pretrained(tmp_path, use_safetensors=True)
    assert torch.equal(loaded(**inputs()), classifier.eval()(**inputs()))


def test_rotation_keeps_lengths_and_separates_positions():
    video = torch.randn(1, 2, 8, 3, 4)
    rotated = rotate_by_position(video)
    torch.testing.assert_close(rotated.norm(dim=2), video.norm(dim=2))
    assert torch.equal(rotated[..., 0, 0], video[..., 0, 0])  # the origin stays
    same = rotate_by_position(torch.ones(1, 1, 8, 3, 4))
    assert not torch.allclose(same[..., 0, 1], same[..., 1, 0])


def test_angles_are_exact_in_half_precision():
    video = torch.ones(1, 1, 8, 64, 64)
    rotated = rotate_by_position(video.bfloat16())
    assert rotated.dtype == torch.bfloat16
    torch.testing.assert_close(rotated.float(), rotate_by_position(video), rtol=0, atol=2e-3 * 4)


def test_positions_are_encoded_before_pooling_removes_them(classifier):
    """The same features elsewhere in the picture are another token: equation 4's E_s."""
    seen = []
    classifier.video_in.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    feature = torch.zeros(2, 16, 4, 4)  # of the reference slot and of one frame
    feature[1, 0, 0, 0] = 1.0
    arguments = inputs(batch=1, frames=1) | {"timestep": torch.tensor([10])}
    for middle in (feature, feature.roll(2, dims=-2)):
        hook = classifier.encoder.mid_block.register_forward_hook(lambda *_, made=middle: made)
        classifier(**arguments)
        hook.remove()
    assert not torch.allclose(seen[0], seen[1])


def test_windows_hold_nothing_from_outside():
    audio = torch.arange(10.0)
    windows = audio[2:8][:, None] + torch.arange(-2, 3)  # frames 2 to 7 with their neighbours
    closed = within(windows[None, :, :, None, None])[0, :, :, 0, 0]
    assert closed[0].tolist() == [2, 2, 2, 3, 4]
    assert closed[3].tolist() == [3, 4, 5, 6, 7]
    assert closed[5].tolist() == [5, 6, 7, 7, 7]


def test_a_segment_of_a_longer_video_scores_like_a_clip_of_its_own(classifier):
    """Training's clips and guidance's segments: what the windows hold from outside changes
    nothing."""
    arguments, edges = inputs(), inputs()
    edges["audio"] = edges["audio"].clone()
    edges["audio"][:, 0, :2] += 5
    edges["audio"][:, -1, 3:] -= 5
    assert torch.equal(classifier(**arguments), classifier(**edges))
