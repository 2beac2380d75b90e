"""The HTTP API: a real server over untrained networks, real clients, a kill in the middle."""

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

import serve_untrained
from paha_core.corpora.studio import programme
from paha_core.media.audio import write_wav
from paha_core.media.probe import probe
from paha_core.serve.jobs import Jobs, QueueFull
from paha_core.serve.limits import is_loopback


@pytest.fixture(scope="module")
def picture():
    drawn = programme.prepare("lin", 0, seconds=1, height=256, seed=0)
    left, top, side = drawn.crop
    frame = next(iter(programme.draw_frames(drawn)))
    out = io.BytesIO()
    Image.fromarray(frame[top : top + side, left : left + side]).save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="module")
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
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        yield url, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


def call(method, url, data=None, headers=None):
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def submit(url, image, audio, **fields):
    body = {"image": _text(image), "audio": _text(audio)} | fields
    headers = {"Content-Type": "application/json"}
    return call("POST", f"{url}/v1/videos", json.dumps(body).encode(), headers)


def _text(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def wait(url, job, *states):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = json.loads(call("GET", f"{url}/v1/videos/{job}")[2])
        if found["state"] in states:
            return found
        time.sleep(0.2)
    raise AssertionError(f"it never became {states}: {found}")


def multipart(image, audio):
    edge = b"edge"
    parts = b"".join(
        b"--" + edge + b'\r\nContent-Disposition: form-data; name="' + name
        + b'"; filename="../../../etc/' + name + b'"\r\n\r\n' + data + b"\r\n"
        for name, data in ((b"image", image), (b"audio", audio))
    )  # fmt: skip
    return parts + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def test_a_video_from_submission_to_deletion(tmp_path, picture, voice):
    with serving(tmp_path / "served") as (url, _):
        status, headers, body = call("POST", f"{url}/v1/videos", *multipart(picture, voice))
        assert status == 202, body
        job = json.loads(body)["id"]
        assert headers["Location"] == f"/v1/videos/{job}"
        assert call("GET", f"{url}/v1/videos/{job}/result")[0] in (200, 409)
        events = call("GET", f"{url}/v1/videos/{job}/events")[2].decode()
        states = [json.loads(line[6:])["state"] for line in events.splitlines() if line]
        assert states[-1] == "done"

        status, headers, video = call("GET", f"{url}/v1/videos/{job}/result")
        assert (status, headers["Content-Type"]) == (200, "video/mp4")
        (tmp_path / "video.mp4").write_bytes(video)
        assert probe(tmp_path / "video.mp4").duration == pytest.approx(0.5, abs=0.05)
        sidecar = call("GET", f"{url}/v1/videos/{job}/sidecar")[2].decode()
        assert str(tmp_path) not in sidecar

        metrics = call("GET", f"{url}/metrics")[2].decode()
        assert 'paha_videos{state="done"} 1.0' in metrics
        assert 'paha_generation_seconds_count{mode="unguided"} 1.0' in metrics
        assert call("DELETE", f"{url}/v1/videos/{job}")[0] == 204
        assert call("GET", f"{url}/v1/videos/{job}")[0] == 404
        assert [p.name for p in (tmp_path / "served").iterdir() if p.is_dir()] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["served", "video.mp4"]


def test_what_can_not_be_used_is_refused_in_a_sentence_and_leaves_nothing(tmp_path, picture, voice):
    with serving(tmp_path) as (url, _):
        svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"/>'
        for image, audio, fields, status, message in (
            (svg, voice, {}, 422, "not a picture"),
            (b"", voice, {}, 422, "image is empty"),
            ("https://example.org/me.png", voice, {}, 422, "addresses are not fetched"),
            (picture, "***", {}, 422, "audio is not base64"),
            (picture, voice, {"steps": 0}, 422, "steps"),
            (picture, voice, {"folder": "/etc"}, 422, "folder"),
        ):
            got, _, body = submit(url, image, audio, **fields)
            assert (got, message in body.decode()) == (status, True), body
            assert str(tmp_path) not in body.decode()
        assert call("POST", f"{url}/v1/videos", b"x", {"Content-Type": "text/plain"})[0] == 415
        assert (
            call("POST", f"{url}/v1/videos", b"{", {"Content-Type": "application/json"})[0] == 400
        )
        large = {"Content-Type": "application/json", "Content-Length": str(2 << 30)}
        assert call("POST", f"{url}/v1/videos", b"x", large)[0] == 413
        assert call("GET", f"{url}/v1/videos/..%2F..%2Fetc%2Fpasswd")[0] in (404, 422)
        assert call("GET", f"{url}/v1/videos/{'0' * 32}/result")[0] == 404

        # a picture without a face passes the door and fails with its reason
        out = io.BytesIO()
        Image.new("RGB", (128, 128), "grey").save(out, "png")
        job = json.loads(submit(url, out.getvalue(), voice)[2])["id"]
        failed = wait(url, job, "failed")
        assert "face" in failed["message"]
        assert str(tmp_path) not in failed["message"]
        assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == [job]


def test_twenty_clients_at_once_and_a_kill_lose_nothing(tmp_path, picture, voice):
    with serving(tmp_path, capacity=12) as (url, process):
        with ThreadPoolExecutor(20) as clients:
            answers = list(clients.map(lambda n: submit(url, picture, voice, seed=n), range(20)))
        accepted = [json.loads(body)["id"] for status, _, body in answers if status == 202]
        refused = [headers for status, headers, _ in answers if status == 429]
        assert len(accepted) + len(refused) == 20
        assert 12 <= len(accepted) <= 14  # one or two may have left the queue meanwhile
        assert refused[0]["Retry-After"] == "30"
        for job in accepted[4:]:
            assert call("DELETE", f"{url}/v1/videos/{job}")[0] == 204
        kept = [job for job in accepted[:4] if wait(url, job, "queued", "running", "done")]
        process.kill()
        process.wait()
    with serving(tmp_path, capacity=12) as (url, _):
        for job in kept:
            assert wait(url, job, "done", "failed")["state"] == "done"
            assert call("GET", f"{url}/v1/videos/{job}/result")[0] == 200
        counts = Jobs(tmp_path).counts()
        assert counts["done"] == len(kept)
        assert set(counts) <= {"done", "cancelled"}


def test_the_queue_is_bounded_and_first_come_first_served(tmp_path):
    jobs = Jobs(tmp_path, capacity=2)
    first, second = (jobs.submit(jobs.new_id(), "image", "audio", {"seed": n}) for n in range(2))
    with pytest.raises(QueueFull):
        jobs.submit(jobs.new_id(), "image", "audio", {})
    assert jobs.ahead_of(second) == 1
    assert jobs.take()["id"] == first["id"]
    jobs.cancel(first["id"])
    assert jobs.get(first["id"])["state"] == "cancelling"
    jobs.cancel(second["id"])
    assert jobs.get(second["id"])["state"] == "cancelled"
    assert jobs.recover() == 0
    assert jobs.get(first["id"])["state"] == "cancelled"


def test_only_this_machine_without_a_token():
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")
