"""What one request chooses and how it ends, without a server's process: adapters, cancelling
between two sampling steps, and the API against its own specification."""

import base64
import json
import struct
import time
import zlib

import pytest
import torch
from starlette.testclient import TestClient

from paha_core.config import load_preset
from paha_core.inference.untrained import untrained_pipeline
from paha_core.serve.api import create_app
from paha_core.serve.jobs import Jobs
from paha_core.serve.limits import Guard, Limits
from paha_core.serve.worker import Cancelled, Worker
from serve_untrained import with_adapter

TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def pipeline():
    torch.set_num_threads(1)
    return with_adapter(untrained_pipeline(load_preset("smoke")))


def body_of(picture, voice, **fields):
    coded = {"image": base64.b64encode(picture).decode(), "audio": base64.b64encode(voice).decode()}
    return coded | fields


def ended(client, job):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = client.get(f"/v1/videos/{job}").json()
        if found["state"] in ("done", "failed", "cancelled"):
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def test_a_request_chooses_one_of_the_servers_adapters(pipeline, picture, voice, tmp_path):
    app = create_app(pipeline, tmp_path, Limits(seconds=0.2), page=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        model = client.get("/v1/model").json()
        assert (model["adapters"], model["weights"]) == (["me"], "fp32")
        videos = {}
        for adapter in ("", "me"):
            sent = client.post("/v1/videos", json=body_of(picture, voice, steps=1, adapter=adapter))
            job = sent.json()["id"]
            assert ended(client, job)["state"] == "done"
            sidecar = client.get(f"/v1/videos/{job}/sidecar").json()
            assert [one["speaker"] for one in sidecar["adapters"]] == ([adapter] if adapter else [])
            assert "path" not in json.dumps(sidecar["adapters"])
            videos[adapter] = sidecar["video_sha256"]
        assert videos[""] != videos["me"]
        refused = client.post("/v1/videos", json=body_of(picture, voice, adapter="you"))
        assert (refused.status_code, "there is me" in refused.text) == (422, True)


def test_a_video_is_cancelled_before_its_next_sampling_step(pipeline, picture, voice, tmp_path):
    """In the middle of the first segment, and nothing is left of it."""
    jobs = Jobs(tmp_path)
    worker = Worker(pipeline, jobs, max_seconds=0.2, keep_seconds=60)
    job_id = jobs.new_id()
    place = jobs.place(job_id)
    place.mkdir()
    (place / "image").write_bytes(picture)
    (place / "audio").write_bytes(voice)
    jobs.submit(job_id, "image", "audio", {"mode": "unguided", "steps": 5})
    job, seen = jobs.take(), []

    def is_cancelled(of):  # the user cancels during the second step
        seen.append(of["id"])
        if len(seen) == 2:
            jobs.cancel(job_id)
        return Worker._is_cancelled(worker, of)

    worker._is_cancelled = is_cancelled
    worker._generate(job)
    found = jobs.get(job_id)
    assert (found["state"], found["done"], found["total"]) == ("cancelled", 0, 0)
    assert len(seen) == 3  # two steps' and the one that tells why it stopped
    assert not place.exists()
    assert issubclass(Cancelled, Exception)


def test_a_finished_video_expires_with_its_files_and_one_that_waits_does_not(pipeline, tmp_path):
    jobs = Jobs(tmp_path)
    worker = Worker(pipeline, jobs, max_seconds=1, keep_seconds=3600)
    old, new, waiting = (jobs.submit(jobs.new_id(), "image", "audio", {})["id"] for _ in range(3))
    for job_id in (old, new, waiting):
        jobs.place(job_id).mkdir()
    for job_id in (old, new):
        jobs.finish(job_id, "done")
    with jobs._database() as database:
        two_hours = "update videos set finished = finished - 7200 where id = ?"
        database.execute(two_hours, (old,))
    worker._expire()
    assert jobs.get(old) is None
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {new, waiting}
    assert (jobs.get(new)["state"], jobs.get(waiting)["state"]) == ("done", "queued")


def test_the_api_keeps_its_own_specification(pipeline, tmp_path):
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    app = create_app(pipeline, tmp_path, Limits(capacity=1), token="secret")
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=TOKEN)
    quick = settings(
        max_examples=4,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    tried = []
    for operation in schema.get_all_operations():
        operation = operation.ok()

        @quick
        @given(case=operation.as_strategy())
        def keeps(case):
            tried.append(case.operation.label)
            # a specification can't tell which bytes are a picture of a face
            no_picture = [positive_data_acceptance] if case.method == "POST" else []
            case.call_and_validate(headers=TOKEN, excluded_checks=no_picture)

        keeps()
    assert "POST /v1/videos" in tried
    assert len(set(tried)) >= 11


async def _echo(scope, receive, send):
    """An application that reads the whole body."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def guarded(limits, receive):
    """The status with which `Guard` answers a POST without Content-Length."""
    import asyncio

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/videos"}
    asyncio.run(Guard(_echo, limits)(scope | {"headers": [(b"host", b"127.0.0.1")]}, receive, send))
    return sent[0]["status"]


def test_a_body_that_does_not_end_and_a_client_that_does_not_send_are_cut_off():
    import asyncio

    received = []

    async def endless():
        received.append(1 << 20)
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def silent():
        await asyncio.sleep(60)

    async def dripping():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def short():
        return {"type": "http.request", "body": b"x", "more_body": False}

    limits = Limits(body_bytes=8 << 20, idle_seconds=0.05)
    assert guarded(limits, endless) == 413
    assert sum(received) == 9 << 20
    assert guarded(limits, silent) == 408
    assert guarded(Limits(idle_seconds=60, body_seconds=0.2), dripping) == 408
    assert guarded(limits, short) == 200


def test_what_all_clients_send_at_once_is_bounded():
    import asyncio

    guard = Guard(_echo, Limits(body_bytes=3 << 20, open_bytes=5 << 20))
    scope = {"type": "http", "method": "POST", "path": "/v1/videos"}
    scope["headers"] = [(b"host", b"127.0.0.1")]

    async def client(others_sent):
        """Sends 2 MiB, and the end when the others have begun."""
        parts = [(bytes(2 << 20), True), (b"", False)]
        started = []

        async def receive():
            if len(parts) == 1:
                await others_sent.wait()
            body, more = parts.pop(0)
            return {"type": "http.request", "body": body, "more_body": more}

        async def send(message):
            if message["type"] == "http.response.start":
                started.append(message)

        await guard(scope, receive, send)
        return started[0]["status"], dict(started[0]["headers"])

    async def three():
        others_sent = asyncio.Event()
        first = [asyncio.create_task(client(others_sent)) for _ in range(2)]
        await asyncio.sleep(0.05)
        third = await client(others_sent)
        others_sent.set()
        return [*await asyncio.gather(*first), third]

    *first, third = asyncio.run(three())
    assert [status for status, _ in first] == [200, 200]
    assert third[0] == 429
    assert b"retry-after" in third[1]
    assert guard.open == 0


def test_a_picture_of_few_bytes_and_many_pixels_is_refused_by_its_header(pipeline, voice, tmp_path):
    """100,000 x 100,000 pixels: 30 GB if they were decoded."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(bytes(1 << 20))
    parts = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p))
             for p in (head, rows, b"IEND")]  # fmt: skip
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    app = create_app(pipeline, tmp_path, Limits())
    client = TestClient(app, base_url="http://127.0.0.1")  # without the thread that generates
    refused = client.post("/v1/videos", json=body_of(bomb, voice))
    assert (refused.status_code, "large" in refused.text) == (422, True), refused.text
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
