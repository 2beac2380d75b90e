import gc
import itertools

import numpy as np
import pytest
import torch

from paha_core.config import GuidanceConfig, NetworkConfig, UniVDMConfig
from paha_core.inference.guidance import ClassifierGuidance
from paha_core.inference.halves import halves, on_each
from paha_core.inference.sampling import Conditions, Sampler, segment_count
from paha_core.inference.sliding_window import sliding_window, window_starts
from paha_core.inference.trace import Trace
from paha_core.models.noise import ddim_step, sampling_scheduler
from paha_core.models.univdm import EncodedConditions, UniVDM, network_input
from tiny_univdm import TINY

SIZES = TINY | {"block_out_channels": (8,), "attention_levels": (True,)}


@pytest.fixture(scope="module")
def sampler():
    torch.manual_seed(0)
    model = UniVDM(**SIZES)
    for parameter in model.parameters():  # the zero-initialised layers must speak too
        torch.nn.init.normal_(parameter, std=0.1)
    return Sampler(model, UniVDMConfig(), num_inference_steps=3)


def conditions(frames, batch=2):
    draw = torch.Generator().manual_seed(1)
    return Conditions(
        torch.randn(batch, 4, 4, 4, generator=draw),
        torch.randn(batch, 6, generator=draw),
        torch.randn(batch, frames, 5, 1, 4, generator=draw),
    )


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("frames", "segments"), [(1, 1), (16, 1), (17, 2), (31, 2), (32, 3), (46, 3)]
)
def test_each_later_segment_adds_one_frame_less(frames, segments):
    assert segment_count(frames, 16) == segments


@pytest.mark.parametrize("frames", [3, 6, 7, 11, 12])
def test_a_video_is_exactly_as_long_as_its_audio(sampler, frames):
    trace = Trace()
    made = sampler.video(conditions(frames), 6, seeded(), trace=trace)
    assert made.shape == (2, 4, frames, 4, 4)
    assert trace.segments == segment_count(frames, 6)
    assert trace.solver > 0


def test_a_seed_is_a_video(sampler):
    one, again, other = (sampler.video(conditions(9), 6, seeded(s)) for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_segment_continues_from_the_last_latents_of_the_previous(sampler):
    given = conditions(11)
    whole = sampler.video(given, 6, seeded())
    draw = seeded()
    first = torch.randn(2, 4, 6, 4, 4, generator=draw)
    noise = torch.randn(2, 4, 6, 4, 4, generator=draw)
    noise[:, :, 0] = first[:, :, -1]  # the given frame keeps the noise that it was made from
    second, _ = sampler.denoise(slice(None), noise, given.part(5, 6), whole[:, :, 5])
    assert torch.equal(whole[:, :, 6:], second[:, :, 1:])


def test_states_are_predicted_together_as_alone(sampler):
    encoded, _ = sampler.encode(conditions(6))
    states = torch.randn(3, 2, 4, 6, 4, 4, generator=seeded())
    t = sampler.timesteps[0]
    together = sampler.predict_noise(states.flatten(0, 1), t, encoded.repeated(3), None, None)
    alone = [sampler.predict_noise(state, t, encoded, None, None) for state in states]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_classifier_free_guidance_extrapolates_from_the_unconditional_prediction(sampler):
    given, latents = conditions(6), torch.randn(2, 4, 6, 4, 4, generator=seeded())
    scaled = Sampler(sampler.model, UniVDMConfig(), num_inference_steps=3, cfg_scale=2.5)
    encoded, dropped = scaled.encode(given)
    noise_pred, uncond_pred = (
        sampler.predict_noise(latents, 500, one, None, None) for one in (encoded, dropped)
    )
    expected = uncond_pred + 2.5 * (noise_pred - uncond_pred)
    assert torch.equal(scaled.predict_noise(latents, 500, encoded, dropped, None), expected)


def test_the_loop_is_diffusers_ddim_bit_for_bit(sampler):
    """Written out with the library's own scheduler and the network's plain `forward`."""
    given, latents = conditions(6, batch=1), torch.randn(1, 4, 6, 4, 4, generator=seeded())
    made = sampler.video(given, 6, seeded())
    with torch.no_grad():
        for t in sampler.scheduler.timesteps:
            sample = network_input(latents, None)
            noise_pred = sampler.model(sample, t[None], *given.inputs)
            latents = sampler.scheduler.step(noise_pred, t, latents).prev_sample
    assert torch.equal(made, latents)


def test_conditions_are_encoded_once_a_segment(sampler, monkeypatch):
    calls = []
    encode = UniVDM.encode_conditions

    def counting(self, *given):
        calls.append(given)
        return encode(self, *given)

    monkeypatch.setattr(UniVDM, "encode_conditions", counting)
    sampler.video(conditions(11, batch=1), 6, seeded())
    assert len(calls) == 2  # segments of three steps each


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_step_ends_where_the_next_one_begins(prediction):
    """30 trailing steps do not divide 1000: diffusers ends ten of them a timestep beside."""
    config = UniVDMConfig(prediction=prediction, zero_terminal_snr=prediction != "epsilon")
    scheduler = sampling_scheduler(config, 30)
    clean, noise = torch.randn(2, 1, 4, 3, 4, 4, generator=seeded()).unbind()

    def noised(t):
        alpha = scheduler.alphas_cumprod[t]
        return alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise

    for i, t in enumerate(scheduler.timesteps):
        alpha = scheduler.alphas_cumprod[t]
        velocity = alpha**0.5 * noise - (1 - alpha) ** 0.5 * clean
        output = {"epsilon": noise, "v_prediction": velocity, "sample": clean}[prediction]
        ended = ddim_step(scheduler, output, i, noised(t))
        last = i + 1 == len(scheduler.timesteps)
        following = noised(0 if last else scheduler.timesteps[i + 1])
        torch.testing.assert_close(ended, following, rtol=1e-4, atol=1e-4)


def test_classifier_free_guidance_of_one_costs_nothing(sampler):
    with_scale = Sampler(sampler.model, UniVDMConfig(), num_inference_steps=3, cfg_scale=1.0)
    assert torch.equal(
        with_scale.video(conditions(5), 6, seeded()), sampler.video(conditions(5), 6, seeded())
    )


def test_epsilon_with_zero_terminal_snr_is_refused():
    with pytest.raises(ValueError, match="divides by zero"):
        UniVDMConfig(zero_terminal_snr=True)


def test_only_a_predicted_sample_is_a_change_from_the_reference():
    with pytest.raises(ValueError, match="needs univdm"):
        UniVDMConfig(network=NetworkConfig(reference_skip=True), prediction="v_prediction")


# --- halves of a batch ----------------------------------------------------------------------------


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def guidance_of(given, rows, has_first_frame):
    def logit(latents, timestep):
        return (latents * given.reference_latents[:, :, None]).flatten(1).mean(dim=1)

    mask = torch.zeros(len(given.audio), 1, 1, 4, 4)
    mask[..., :2, :] = 1
    config = GuidanceConfig(lambda_face=5, lambda_non_face=5)
    return ClassifierGuidance(
        "differential", {"face": logit, "non_face": logit}, mask, config, has_first_frame
    )


def test_halves_of_a_batch_make_what_the_whole_makes(sampler, two_threads):
    given = conditions(9, batch=3)
    assert halves(3, "cpu") == [slice(0, 2), slice(2, 3)]
    side_by_side, trace = Trace(), Trace()
    split = sampler.video(given, 6, seeded(), guidance_factory=guidance_of, trace=side_by_side)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert len(halves(3, "cpu")) == 1
    whole = sampler.video(given, 6, seeded(), guidance_factory=guidance_of, trace=trace)
    torch.testing.assert_close(split, whole, rtol=1e-3, atol=1e-4)
    assert side_by_side.segments == trace.segments == 2
    for one, other in zip(side_by_side.steps, trace.steps, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_the_number_of_threads_is_restored_after_an_error(two_threads):
    def fails(rows):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        on_each(fails, halves(2, "cpu"))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("batch", [1, 2])
def test_guidance_leaves_a_given_first_frame_alone(sampler, batch):
    """At every step the network is shown frame 0 at its noise level, as unguided sampling shows it;
    the other frames are moved."""
    shown = []

    class Spy(Sampler):
        def predict_noise(self, latents, timestep, *rest):
            shown.append(latents.clone())
            return super().predict_noise(latents, timestep, *rest)

    spy = Spy(sampler.model, UniVDMConfig(), num_inference_steps=3)
    given, noise = conditions(6, batch), torch.randn(batch, 4, 6, 4, 4, generator=seeded())
    first = torch.randn(batch, 4, 4, 4, generator=seeded(1))
    spy.denoise(slice(None), noise, given, first, guidance_of)
    guided, shown = shown, []
    spy.denoise(slice(None), noise, given, first)
    assert len(guided[0]) == 3 * batch  # the three states of Differential Guidance
    for state, plain in zip(guided[0].split(batch), 3 * [shown[0]], strict=True):
        assert torch.equal(state[:, :, 0], plain[:, :, 0])
        assert not torch.equal(state[:, :, 1:], plain[:, :, 1:])
    for states, plain in zip(guided, shown, strict=True):
        for state in states.split(batch):
            assert torch.equal(state[:, :, 0], plain[:, :, 0])
    shown = []
    spy.denoise(slice(None), noise, given, None, guidance_of)
    assert not torch.equal(shown[0][:batch, :, 0], noise[:, :, 0])  # a free one is guided


def test_each_guided_step_is_logged(sampler):
    trace = Trace()
    sampler.video(conditions(6), 6, seeded(), guidance_factory=guidance_of, trace=trace)
    assert len(trace.steps) == 2  # half of 3, rounded
    assert set(trace.steps[0]) == {
        *("timestep", "update", "face_update", "non_face_update", "face_logit", "non_face_logit")
    }
    assert all(step["update"] > 0 for step in trace.steps)


class Knowing(torch.nn.Module):
    """A network that knows the video: reference plus the sound of the moment; it says the noise."""

    device = torch.device("cpu")

    def __init__(self, scheduler):
        super().__init__()
        self.shares = scheduler.alphas_cumprod

    def encode_conditions(self, reference, embedding, audio):
        return EncodedConditions(reference, reference, embedding, audio)

    def denoise(self, sample, timestep, given):
        share = self.shares[timestep][:, None, None, None, None]
        video = video_of(given.reference_features, given.audio_tokens)
        return (sample[:, :4] - share**0.5 * video) / (1 - share) ** 0.5


def video_of(reference, audio):
    return reference[:, :, None] + audio[:, None, :, 2, 0, 0, None, None]


def tensors_alive():
    """Numbers in all tensors alive; by type, as `isinstance` looks through dead weak proxies."""
    return sum(x.numel() for x in gc.get_objects() if issubclass(type(x), torch.Tensor))


def test_a_minute_neither_drifts_nor_jumps_nor_fills_the_memory():
    """What a perfect network would show comes out of the chain, at seams as anywhere."""
    config = UniVDMConfig()
    knowing = Sampler(Knowing(sampling_scheduler(config, 1)), config, num_inference_steps=4)
    given, held, pieces = conditions(1500, batch=1), [], []
    for piece in knowing.segments(given, 16, seeded()):
        pieces.append(piece.numpy().copy())
        del piece
        if len(pieces) in (3, 90):
            held.append(tensors_alive())
    made = torch.from_numpy(np.concatenate(pieces, axis=2))
    assert len(pieces) == segment_count(1500, 16) == 100
    error = made - video_of(given.reference_latents, given.audio)
    # DDIM ends at the schedule's first level, so a little of each frame's noise is left: 3 %.
    assert error.abs().max() < 0.2
    assert error.unflatten(2, (60, 25)).mean(dim=(0, 1, 3, 4, 5)).abs().max() < 0.01  # by second
    change = error[:, :, 1:] - error[:, :, :-1]
    at = torch.arange(15, 1499, 15)  # a segment's first own frame
    jump, rest = change[:, :, at].square().mean(), change.square().mean()
    assert 0.8 < jump / rest < 1.2
    assert held[1] <= held[0]


# --- long video, the earlier way ------------------------------------------------------------------


@pytest.mark.parametrize("frames", [3, 8, 9, 20, 31])
def test_windows_cover_every_frame_and_overlap(frames):
    starts = window_starts(frames, 8)
    covered = {i for start in starts for i in range(start, start + 8)}
    assert covered >= set(range(frames))
    assert max(starts) + 8 == max(frames, 8)
    assert all(b - a <= 6 for a, b in itertools.pairwise(starts))


def test_one_window_is_one_segment(sampler):
    given, trace = conditions(6), Trace()
    averaged = sliding_window(sampler, given, 6, seeded(), trace)
    assert torch.equal(averaged, sampler.video(given, 6, seeded()))
    assert sliding_window(sampler, conditions(15), 6, seeded(), trace).shape[2] == 15


def test_a_segment_keeps_close_to_the_frame_it_starts_from(sampler):
    """Frame 0 enters every step as the given frame at that step's noise, whatever the network
    says of it: the others are made beside the frame that is shown before them."""
    given, seen = conditions(6), []

    class Spy(Sampler):
        def predict_noise(self, latents, timestep, *rest):
            seen.append((timestep, latents[:, :, 0].clone()))
            return super().predict_noise(latents, timestep, *rest)

    first, noise = torch.randn(2, 4, 4, 4, generator=seeded()), torch.randn(2, 4, 6, 4, 4)
    spy = Spy(sampler.model, UniVDMConfig(), num_inference_steps=3)
    spy.denoise(slice(None), noise, given, first)
    assert len(seen) == 3
    for t, state in seen:
        share = sampler.scheduler.alphas_cumprod[t]
        expected = share**0.5 * first + (1 - share) ** 0.5 * noise[:, :, 0]
        torch.testing.assert_close(state, expected)
