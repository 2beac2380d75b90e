"""A portrait, a voice, and a real server over untrained networks, for the API and the page."""

import io
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

import serve_untrained
from paha_core.corpora.studio import programme
from paha_core.media.audio import write_wav


@pytest.fixture(scope="session")
def picture():
    drawn = programme.prepare("lin", 0, seconds=1, height=256, seed=0)
    left, top, side = drawn.crop
    frame = next(iter(programme.draw_frames(drawn)))
    out = io.BytesIO()
    Image.fromarray(frame[top : top + side, left : left + side]).save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="session")
def voice(tmp_path_factory):
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    time_axis = np.arange(8000) / 16000
    write_wav(path, (0.3 * np.sin(700 * time_axis)).astype(np.float32), 16000)
    return path.read_bytes()


@contextmanager
def serving(folder, capacity=16):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, serve_untrained.__file__, str(folder), str(port), str(capacity)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300  # a busy machine starts slowly
        while time.monotonic() < deadline and process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        yield url, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(240)


@pytest.fixture(scope="session")
def serve():
    """Starts a server on a folder: `with serve(folder) as (url, process)`."""
    return serving
