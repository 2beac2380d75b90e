"""Audio encoders: alignment to video frames, chunks, errors."""

import sys

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from paha_core.benchmark.report.facts import stand_ins
from paha_core.config import AudioConfig, Preset, ReferenceConfig, load_preset
from paha_core.config.encoders import AUDIO_ENCODERS, EncoderEntry
from paha_core.errors import UserError
from paha_core.models.audio_encoder import (
    SAMPLES_PER_FRAME,
    LogMel,
    Wav2Vec2,
    audio_windows,
    open_audio_encoder,
    open_audio_encoders,
)
from paha_core.training.traces import planned_widths


@pytest.fixture(scope="module")
def wav2vec2_folder(tmp_path_factory):
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    folder = tmp_path_factory.mktemp("wav2vec2")
    Wav2Vec2Model(config).save_pretrained(folder)
    return str(folder)


def noise(frames, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, frames * SAMPLES_PER_FRAME).astype(np.float32)


@pytest.mark.parametrize("sample", [0, 638, 641, 6401, 6719, 7038, 9 * 640 + 321])
def test_log_mel_puts_an_impulse_into_the_frame_and_hop_that_hold_it(sample):
    wave = np.zeros(20 * SAMPLES_PER_FRAME, np.float32)
    wave[sample] = 1.0
    features = LogMel().encode(wave, 20)
    assert features.shape == (20, 4, 40)
    assert features.dtype == np.float16
    loudness = features.astype(np.float32).mean(-1)
    frame, hop = np.unravel_index(loudness.argmax(), loudness.shape)
    assert (frame, hop) == (sample // 640, sample % 640 // 160)
    silent = np.delete(loudness, [f for f in (frame - 1, frame, frame + 1) if f >= 0], axis=0)
    assert silent.max() == loudness.min()


def test_log_mel_of_a_part_is_that_part_of_the_features():
    wave, encoder = noise(30), LogMel()
    whole, part = encoder.encode(wave, 30), encoder.encode(wave[5 * 640 : 25 * 640], 20)
    np.testing.assert_array_equal(whole[6:24], part[1:19])


@pytest.mark.parametrize("off", [-641, 641])
def test_audio_that_does_not_belong_to_the_frames_is_refused(off):
    with pytest.raises(ValueError, match="does not match 10 frames"):
        LogMel().encode(np.zeros(10 * 640 + off, np.float32), 10)
    assert (
        LogMel().encode(np.zeros(10 * 640 + int(np.sign(off)) * 640, np.float32), 10).shape[0] == 10
    )


def test_stereo_is_refused():
    with pytest.raises(ValueError, match="mono"):
        LogMel().encode(np.zeros((2, 6400), np.float32), 10)


def test_wav2vec2_interpolates_hidden_states_at_frame_centres(wav2vec2_folder):
    encoder = open_audio_encoder(AudioConfig(pretrained=wav2vec2_folder))
    wave = noise(12)
    features = encoder.encode(wave, 12)
    assert features.shape == (12, 3, 16)
    assert (encoder.layers, encoder.width) == (3, 16)
    model = Wav2Vec2Model.from_pretrained(wav2vec2_folder).eval()
    scaled = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))
    with torch.no_grad():
        states = model(scaled[None], output_hidden_states=True).hidden_states
    second = states[2][0].numpy()
    # centre of frame f: sample 640 f + 320; of hidden state k: 320 k + 200
    for f in range(11):
        np.testing.assert_allclose(
            features[f, 1], 0.625 * second[2 * f] + 0.375 * second[2 * f + 1], atol=2e-3
        )
    np.testing.assert_allclose(features[11, 1], second[22], atol=2e-3)


def test_wav2vec2_chunks_stay_aligned_with_one_pass(wav2vec2_folder):
    wave = noise(100)
    whole = Wav2Vec2(wav2vec2_folder).encode(wave, 100).astype(np.float32)
    chunked = Wav2Vec2(wav2vec2_folder, chunk=1.2, context=0.8).encode(wave, 100).astype(np.float32)
    assert chunked.shape == whole.shape

    def distance(shift):
        return np.abs(whole[10 + shift : 90 + shift, 0] - chunked[10:90, 0]).mean()

    assert distance(0) < 0.5 * min(distance(-1), distance(1))


def test_wav2vec2_hash_names_the_weights(wav2vec2_folder, tmp_path):
    model = Wav2Vec2Model.from_pretrained(wav2vec2_folder)
    with torch.no_grad():
        model.encoder.layers[0].feed_forward.output_dense.bias += 1
    model.save_pretrained(tmp_path)
    first = Wav2Vec2(wav2vec2_folder)
    assert first.sha256 == Wav2Vec2(wav2vec2_folder).sha256 != Wav2Vec2(str(tmp_path)).sha256
    assert not any(p.requires_grad for p in first.model.parameters())
    assert not first.model.training


def test_a_dataset_in_another_language_has_weights_of_its_own(wav2vec2_folder, tmp_path):
    Wav2Vec2Model.from_pretrained(wav2vec2_folder).save_pretrained(tmp_path)
    config = AudioConfig(pretrained=wav2vec2_folder, by_dataset={"cnas": str(tmp_path)})
    opened = open_audio_encoders(config, ["pats", "cnas"])
    assert opened["pats"] is not opened["cnas"]
    shared = open_audio_encoders(AudioConfig(pretrained=wav2vec2_folder), ["pats", "cnas"])
    assert shared["pats"] is shared["cnas"]


def test_absent_weights_name_the_preset_key():
    with pytest.raises(UserError, match=r"needs audio\.pretrained"):
        open_audio_encoder(AudioConfig())
    with pytest.raises(FileNotFoundError, match=r"audio\.pretrained: no folder /nowhere/wav2vec2"):
        open_audio_encoder(AudioConfig(pretrained="/nowhere/wav2vec2"))


def test_audio_windows_hold_the_frame_in_the_middle_and_clamp_at_the_clip():
    features = np.arange(6, dtype=np.float32).reshape(6, 1, 1)
    windows = audio_windows(features, 2)
    assert windows.shape == (6, 5, 1, 1)
    np.testing.assert_array_equal(windows[:, 2], features)
    np.testing.assert_array_equal(windows[0].ravel(), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(windows[5].ravel(), [3, 4, 5, 5, 5])
    np.testing.assert_array_equal(audio_windows(features, 2, 1, 4), windows[1:4])
    tensor = audio_windows(torch.from_numpy(features), 2, 1, 4)
    np.testing.assert_array_equal(tensor.numpy(), windows[1:4])


class Loudness:
    """An encoder as somebody might add it."""

    name, sha256, layers, width = "loudness", "0", 1, 1

    def encode(self, wave, frames):
        return np.abs(wave.reshape(frames, 1, -1)).mean(-1, keepdims=True).astype(np.float16)


def test_a_new_encoder_is_a_class_and_a_registry_entry(monkeypatch):
    entry = EncoderEntry(f"{__name__}:Loudness", needs_weights=False, published_shape=(1, 1))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Loudness.__module__])
    monkeypatch.setitem(AUDIO_ENCODERS, "loudness", entry)
    config = AudioConfig(encoder="loudness")
    assert open_audio_encoder(config).encode(noise(3), 3).shape == (3, 1, 1)
    demo = load_preset("demo").model_dump()
    preset = Preset.model_validate(demo | {"audio": {"encoder": "loudness"}})
    assert planned_widths(preset).audio_width == 1
    assert not [part for part in stand_ins(preset) if part.part == "Audio"]


def test_unknown_encoders_and_weights_for_one_without_are_refused_by_the_preset():
    with pytest.raises(
        ValueError, match="no encoder is called hubert; there are log_mel, wav2vec2"
    ):
        AudioConfig(encoder="hubert")
    with pytest.raises(ValueError, match="log_mel has none"):
        AudioConfig(encoder="log_mel", by_dataset={"cnas": "x"})
    with pytest.raises(ValueError, match="there are clip, pooled_pixels"):
        ReferenceConfig(encoder="dino")
