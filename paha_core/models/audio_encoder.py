"""Speech to features at 25 frames a second: wav2vec2, or log-mel where no weights are given.

Frame f covers seconds f/25 to (f+1)/25 of the audio, that is samples 640 f to 640 (f+1) at 16 kHz.
Both encoders centre a frame's features on that interval; an offset of as little as two frames
breaks lip-sync.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from paha_core.config import AudioConfig
from paha_core.config.encoders import AUDIO_ENCODERS
from paha_core.media import FPS
from paha_core.models.encoders import open_encoder
from paha_core.models.protocols import AudioEncoder
from paha_core.pretrained import load_frozen, weights_sha256
from paha_core.store import sha256_json

SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS

Features = TypeVar("Features", np.ndarray, torch.Tensor)


def open_audio_encoder(config: AudioConfig, device: str | torch.device = "cpu") -> AudioEncoder:
    """The preset's audio encoder. `UserError` or `FileNotFoundError` if weights are absent."""
    return open_encoder("audio", config.encoder, config.pretrained, AUDIO_ENCODERS, device)


def open_audio_encoders(
    config: AudioConfig, datasets: Sequence[str], device: str | torch.device = "cpu"
) -> dict[str, AudioEncoder]:
    """The audio encoder of each data set; data sets with the same weights share one."""
    configs = {dataset: config.for_dataset(dataset) for dataset in datasets}
    encoders = {one.pretrained: open_audio_encoder(one, device) for one in configs.values()}
    return {dataset: encoders[one.pretrained] for dataset, one in configs.items()}


def audio_windows(
    features: Features, margin: int, start: int = 0, stop: int | None = None
) -> Features:
    """Equation A(f): each frame with `margin` neighbours on both sides, edges clamped.

    `features` `[T, layers, width]` (numpy or torch) to `[F, 2*margin+1, layers, width]` for the
    frames `start` to `stop` (all T by default); frame f itself sits at index `margin`. Clamping is
    at the ends of the clip, not of the range.
    """
    total = len(features)
    frames = np.arange(start, total if stop is None else stop)
    index = np.clip(frames[:, None] + np.arange(-margin, margin + 1), 0, total - 1)
    return features[index]


def fit_wave(wave: np.ndarray, frames: int) -> np.ndarray:
    """`wave` `[N]` at 16 kHz cut or zero-padded to exactly `frames` frames.

    Raises `ValueError` when it is not mono, or when the lengths differ by more than one frame: the
    audio was resampled or cut wrongly then, and padding would hide it.
    """
    if wave.ndim != 1:
        raise ValueError(f"audio must be mono [N], not of shape {wave.shape}")
    samples = frames * SAMPLES_PER_FRAME
    if abs(len(wave) - samples) > SAMPLES_PER_FRAME:
        raise ValueError(
            f"audio of {len(wave) / SAMPLE_RATE:.3f} s does not match {frames} frames "
            f"({frames / FPS:.3f} s at {FPS} fps): check its sample rate and where it was cut"
        )
    return np.pad(wave.astype(np.float32), (0, max(0, samples - len(wave))))[:samples]


class LogMel:
    """Log-mel stand-in: 40 bands, four hops of 10 ms a frame, as `[frames, 4, 40]`.

    Hop k's window of 25 ms is centred on the middle of its 10 ms. The normalisation is fixed (about
    zero mean and unit variance on speech), so features do not depend on the rest of the clip.
    """

    name = "log-mel"
    layers = 4
    width = 40

    hop, window, n_fft = 160, 400, 512
    floor, mean, deviation = (
        1e-5,
        -3.2,
        1.6,
    )  # of log10(mel), measured on speech: espeak's and recorded

    def __init__(self) -> None:
        keys = ("name", "layers", "width", "hop", "window", "n_fft", "floor", "mean", "deviation")
        self.sha256 = sha256_json({key: getattr(self, key) for key in keys})

    def encode(self, wave: np.ndarray, frames: int) -> np.ndarray:
        import librosa

        side = (self.n_fft - self.hop) // 2
        mel = librosa.feature.melspectrogram(
            y=np.pad(fit_wave(wave, frames), side),
            sr=SAMPLE_RATE,
            n_fft=self.n_fft,
            win_length=self.window,
            hop_length=self.hop,
            n_mels=self.width,
            center=False,
        )
        scaled = (np.log10(np.maximum(mel, self.floor)) - self.mean) / self.deviation
        return scaled.T.reshape(frames, self.layers, self.width).astype(np.float16)


class Wav2Vec2:
    """Hidden states 1 to L of a wav2vec2 (base: 12 of width 768), from 50 Hz to 25 fps.

    A clip is encoded in one pass up to `chunk` seconds; a longer one in chunks with `context`
    seconds more on each side.
    """

    name = "wav2vec2"

    def __init__(
        self,
        pretrained: str,
        device: str | torch.device = "cpu",
        chunk: float = 60.0,
        context: float = 2.0,
    ) -> None:
        from transformers import Wav2Vec2Model

        self.device = torch.device(device)
        self.model = load_frozen(Wav2Vec2Model, pretrained, "audio.pretrained").to(self.device)
        config = self.model.config
        self.layers, self.width = config.num_hidden_layers, config.hidden_size
        self.normalise = _normalises(pretrained)
        self.chunk, self.context = round(chunk * FPS), round(context * FPS)
        # Output k of the convolutions has a receptive field of `field` samples from stride*k on.
        self.stride, field = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            field += (kernel - 1) * self.stride
            self.stride *= stride
        self.centre = field / 2
        settings = [self.normalise, self.chunk, self.context, "linear, centres aligned"]
        self.sha256 = sha256_json([weights_sha256(self.model), settings])

    @torch.no_grad()
    def encode(self, wave: np.ndarray, frames: int) -> np.ndarray:
        wave = fit_wave(wave, frames)
        if self.normalise:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        pieces = []
        for start in range(0, frames, self.chunk):
            stop = min(start + self.chunk, frames)
            low, high = max(0, start - self.context), min(frames, stop + self.context)
            chunk = wave[low * SAMPLES_PER_FRAME : high * SAMPLES_PER_FRAME]
            pieces.append(self._pass(chunk, high - low)[start - low : stop - low])
        return np.concatenate(pieces)

    def _pass(self, wave: np.ndarray, frames: int) -> np.ndarray:
        samples = torch.from_numpy(wave)[None].to(self.device)
        states = self.model(samples, output_hidden_states=True).hidden_states[1:]
        hidden = torch.stack([state[0] for state in states], dim=1).float()  # [K, layers, width]
        centres = (torch.arange(frames, device=hidden.device) + 0.5) * SAMPLES_PER_FRAME
        position = ((centres - self.centre) / self.stride).clamp(0, len(hidden) - 1)
        left = position.floor().long()
        right = (left + 1).clamp(max=len(hidden) - 1)
        share = (position - left)[:, None, None]
        return torch.lerp(hidden[left], hidden[right], share).half().cpu().numpy()


def _normalises(pretrained: str) -> bool:
    """Whether the checkpoint expects zero mean and unit variance (the default of its folder)."""
    path = Path(pretrained) / "preprocessor_config.json"
    return bool(json.loads(path.read_text()).get("do_normalize", True)) if path.is_file() else True
