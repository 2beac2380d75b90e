"""Networks that come in wheels: Silero VAD and DNSMOS for speech, PP-OCR for text."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from paha_core.corpora.filters.sync_estimate import SPEECH_RATE

WINDOW, CONTEXT = 512, 64  # samples at 16 kHz that Silero VAD takes, and of the window before
MOS_WINDOW = 144_160  # samples at 16 kHz that DNSMOS takes: 9.01 s
# DNSMOS' polynomials from the network's scale to that of P.835.
OVERALL_FIT = (-0.06766283, 1.11546468, 0.04602535)
BACKGROUND_FIT = (-0.13166888, 1.60915514, -0.39604546)


def speech_probability(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Silero VAD's probability of speech [N // 512] for each 32 ms of a wave [N] at 16 kHz."""
    session = wheel_network("silero_vad", "data/silero_vad.onnx")
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros(CONTEXT, np.float32)
    found = []
    for window in wave[: len(wave) // WINDOW * WINDOW].reshape(-1, WINDOW):
        chunk = np.concatenate([context, window])[None].astype(np.float32)
        out, state = session.run(
            None, {"input": chunk, "state": state, "sr": np.array(SPEECH_RATE, np.int64)}
        )
        found.append(out[0, 0])
        context = window[-CONTEXT:]
    return np.asarray(found, dtype=np.float32)


def dnsmos(wave: NDArray[np.float32]) -> tuple[float, float]:
    """DNSMOS P.835 OVRL and BAK of a wave [N] at 16 kHz; 1, the scale's lowest, of digital silence.

    The network takes 9.01 s: a shorter clip is repeated, of a longer one there is a window each
    second (as in Microsoft's reference code, whose weights these are).
    """
    if not np.any(wave):
        return 1.0, 1.0
    clipped = np.clip(wave, -1, 1)
    while len(clipped) < MOS_WINDOW:
        clipped = np.concatenate([clipped, clipped])
    session = wheel_network("speechmos", "dnsmos_models/sig_bak_ovr.onnx")
    windows = int(len(clipped) // SPEECH_RATE - MOS_WINDOW / SPEECH_RATE) + 1
    raw = []
    for start in range(0, windows * SPEECH_RATE, SPEECH_RATE):
        window = clipped[None, start : start + MOS_WINDOW].astype(np.float32)
        (_signal, background, overall), *_ = session.run(None, {"input_1": window})[0]
        raw.append((np.polyval(OVERALL_FIT, overall), np.polyval(BACKGROUND_FIT, background)))
    overall, background = np.mean(raw, axis=0)
    return float(overall), float(background)


@cache
def wheel_network(package: str, file: str) -> Any:
    """An ONNX network from the wheel of `package`."""
    # Weights straight from a wheel, on one thread, since many clips are scored at once: the
    # packages themselves set torch's threads, or take every core for each session.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"this filter needs the package {package}")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    path = str(Path(spec.submodule_search_locations[0]) / file)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
