"""The HTTP API: a real server over untrained networks, real clients, a kill in the middle."""

import base64
import io
import json
import re
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import av
import pytest
from PIL import Image

from paha_core.inference.marks import inspect_video
from paha_core.media.probe import probe
from paha_core.serve.jobs import Jobs, QueueFull
from paha_core.serve.limits import Guard, Limits, is_loopback

JSON = {"Content-Type": "application/json"}


def call(method, url, data=None, headers=None):
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=240) as answer:
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


def test_a_video_from_submission_to_deletion(serve, tmp_path, picture, voice):
    with serve(tmp_path / "served") as (url, _):
        status, headers, body = call("POST", f"{url}/v1/videos", *multipart(picture, voice))
        assert status == 202, body
        job = json.loads(body)["id"]
        assert headers["Location"] == f"/v1/videos/{job}"
        assert call("GET", f"{url}/v1/videos/{job}/result")[0] in (200, 409)
        streamed = call("GET", f"{url}/v1/videos/{job}/stream")[2]  # ends with the video
        events = call("GET", f"{url}/v1/videos/{job}/events")[2].decode()
        states = [json.loads(line[6:])["state"] for line in events.splitlines() if line]
        assert states[-1] == "done"

        status, headers, video = call("GET", f"{url}/v1/videos/{job}/result")
        assert (status, headers["Content-Type"]) == (200, "video/mp4")
        (tmp_path / "video.mp4").write_bytes(video)
        assert probe(tmp_path / "video.mp4").duration == pytest.approx(0.5, abs=0.05)
        assert inspect_video(tmp_path / "video.mp4").state == "valid"
        assert frames_of(streamed) == frames_of(video) == 12
        assert_playlist(url, job, streamed)
        sidecar = call("GET", f"{url}/v1/videos/{job}/sidecar")[2].decode()
        assert str(tmp_path) not in sidecar

        metrics = call("GET", f"{url}/metrics")[2].decode()
        assert 'paha_videos{state="done"} 1.0' in metrics
        assert 'paha_generation_seconds_count{mode="unguided"} 1.0' in metrics
        assert call("DELETE", f"{url}/v1/videos/{job}")[0] == 204
        assert call("GET", f"{url}/v1/videos/{job}")[0] == 404
        assert call("POST", f"{url}/v1/videos/{job}/again", b"{}", JSON)[0] == 404
        assert [p.name for p in (tmp_path / "served").iterdir() if p.is_dir()] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["served", "video.mp4"]


def frames_of(data):
    with av.open(io.BytesIO(data)) as container:
        return len(list(container.decode(video=0)))


def assert_playlist(url, job, streamed):
    """Init and segments are ranges of the one stream, one after the other and to its end."""
    status, headers, text = call("GET", f"{url}/v1/videos/{job}/stream.m3u8")
    assert (status, headers["Content-Type"]) == (200, "application/vnd.apple.mpegurl")
    ranges = re.findall(r'BYTERANGE[:=]"?(\d+)@(\d+)', text.decode())
    end, data = 0, b""
    for length, start in ranges:
        assert int(start) == end
        end += int(length)
        part = {"Range": f"bytes={start}-{end - 1}"}
        status, _, piece = call("GET", f"{url}/v1/videos/{job}/stream.mp4", headers=part)
        assert status == 206
        data += piece
    assert text.decode().endswith("#EXT-X-ENDLIST\n")
    assert frames_of(data) == frames_of(streamed)
    assert streamed.startswith(data)


def test_other_sites_and_strangers_names_are_refused(serve, tmp_path):
    with serve(tmp_path) as (url, _):
        assert call("GET", f"{url}/v1/videos")[0] == 200
        assert call("GET", f"{url}/v1/videos", headers={"Origin": url})[0] == 200
        for headers in ({"Origin": "https://example.org"}, {"Host": "example.org"}):
            status, _, body = call("GET", f"{url}/v1/videos", headers=headers)
            assert (status, b"another site" in body) == (403, True)


def test_a_token_is_taken_as_bearer_and_as_a_password():
    guard = Guard(None, Limits(), token="secret")
    password = base64.b64encode(b"me:secret")
    for given, allowed in (
        (b"Bearer secret", True), (b"Basic " + password, True), (b"Bearer wrong", False),
        (b"Basic !", False), (b"", False),
    ):  # fmt: skip
        assert guard._allowed("/v1/videos", given) == allowed


def test_what_can_not_be_used_is_refused_in_a_sentence_and_leaves_nothing(
    serve, tmp_path, picture, voice
):
    with serve(tmp_path) as (url, _):
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


def test_twenty_clients_at_once_and_a_kill_lose_nothing(serve, tmp_path, picture, voice):
    with serve(tmp_path, capacity=12) as (url, process):
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
    with serve(tmp_path, capacity=12) as (url, _):
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
