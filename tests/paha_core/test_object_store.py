"""The store on a real S3 server: requests, outages, claims."""

import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from s3_server import BUCKET, environment, s3_server

from paha_core import outages
from paha_core.config import ParConfig, PoseConfig
from paha_core.engine import table_cache
from paha_core.engine.claims import claimed, holder_of, try_claim
from paha_core.engine.manifest_stage import BASE_SCHEMA, ClipWork, kept_rows, update_manifest
from paha_core.local_files import shared_on_host
from paha_core.outages import StoreUnavailable
from paha_core.par.stage import par_masks_stage
from paha_core.pose.face import FaceBoxes
from paha_core.pose.keypoints import Keypoints
from paha_core.pose.stage import KEYPOINT_SCHEMA, face_boxes_stage, face_detection_version
from paha_core.stages import Workspace
from paha_core.stages.report_cache import ReportCache
from paha_core.stages.stage_report import StageReport
from paha_core.store import Store, sha256_file


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as proxy:
        yield proxy


@pytest.fixture
def store(server, monkeypatch, request):
    for name, value in environment(server.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(outages.PATIENCE, "30")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own retries take seconds each
    outages._gave_up.clear()
    made = Store(f"s3://{BUCKET}/{request.node.name}")
    server.disturb = lambda kind, path: None
    made.exists("warm")
    server.reset()
    yield made
    server.disturb = lambda kind, path: None


def test_each_call_asks_for_as_little_as_it_can(store, server):
    def asked(call):
        server.reset()
        call()
        return dict(server.counts)

    assert asked(lambda: store.write_bytes("clips/a.mp4", b"x" * 1000)) == {"PUT": 1}
    assert asked(lambda: store.write_bytes("clips/a.wav", b"y")) == {"PUT": 1}
    assert asked(lambda: store.read_bytes("clips/a.mp4")) == {"GET": 1}
    assert asked(lambda: store.read_bytes("clips/a.mp4", 10, 20)) == {"GET": 1}
    assert asked(lambda: store.read_json("no.json", absent=None)) == {"GET": 1}
    assert asked(lambda: store.glob("clips/*.mp4")) == {"LIST": 1}
    assert asked(lambda: store.versions("clips/")) == {"LIST": 1}
    assert asked(lambda: store.remove("clips/a.wav")) == {"LIST": 1, "POST": 1}
    assert asked(lambda: store.remove("nothing")) == {"LIST": 1}
    with store.reading("clips/a.mp4") as path:
        assert path.read_bytes() == b"x" * 1000
    assert store.glob("**/*") == ["clips", "clips/a.mp4"]


def test_names_with_signs_of_patterns(server, store):
    odd = Store(f"{store.url}/run [v2] #1 {{x}}")
    odd.write_json("manifests/clips/a?b.json", 1)
    assert odd.glob("manifests/*/*.json") == ["manifests/clips/a?b.json"]
    assert odd.read_json("manifests/clips/a?b.json") == 1


def test_versions_change_with_the_content(store):
    store.write_bytes("a", b"1")
    before = store.versions("a")
    assert store.versions("a") == before
    store.write_bytes("a", b"2")
    assert store.versions("a").keys() == before.keys()
    assert store.versions("a") != before


def test_folders_move_and_come_back_whole(store):
    with store.writing_folder("steps/1", "state.json") as folder:
        for name in ("a.bin", "deep/b.bin", "state.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)
    assert store.move("steps", "aside")
    assert not store.move("steps", "elsewhere")
    with store.reading_folder("aside/1") as folder:
        found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        assert found == ["a.bin", "deep/b.bin", "state.json"]
        assert (folder / "deep/b.bin").read_text() == "deep/b.bin"
    store.remove("aside")
    assert store.glob("**/*") == []


def test_one_of_many_claimants_holds_a_claim_on_s3(store, server):
    assert store.create("claims/x", b"one")
    assert not store.create("claims/x", b"two")
    assert store.read_bytes("claims/x") == b"one"
    code = (
        "import sys; from paha_core.engine.claims import try_claim;"
        "from paha_core.store import Store;"
        "claim = try_claim(Store(sys.argv[1]), 'work'); print(bool(claim)); sys.stdin.readline()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", code, store.url]
    racers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    try:
        answers = [racer.stdout.readline().strip() for racer in racers]
        assert sorted(answers) == ["False", "False", "True"]
        assert try_claim(store, "work") is None
        racers[answers.index("True")].kill()
        racers[answers.index("True")].wait()
        server.reset()
        with claimed(store, "work", "working"):
            assert holder_of(store, "work").pid == os.getpid()
        assert sum(server.counts.values()) <= 12
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def storm(status, times):
    """Every request fails so, `times` in all."""
    left = [times]

    def disturb(kind, path):
        left[0] -= 1
        return status if left[0] >= 0 else None

    return disturb


CALLS = {
    503: lambda store: store.write_bytes("a", b"after"),
    500: lambda store: store.read_bytes("a"),
    "cut": lambda store: store.glob("*"),
}


@pytest.mark.parametrize("trouble", CALLS)
def test_a_storm_of_failures_is_lived_through(store, server, trouble):
    store.write_bytes("a", b"before")
    server.disturb = storm(trouble, 6)  # more than one call of s3fs tries by itself
    CALLS[trouble](store)
    assert server.disturb(None, None) is None
    assert store.read_bytes("a") == (b"after" if trouble == 503 else b"before")


def test_a_torn_upload_is_sent_again_and_never_seen_in_half(store, server):
    troubles = iter(["torn"] * 8)  # more than one call of s3fs tries by itself
    server.disturb = lambda kind, path: next(troubles, None) if kind == "PUT" else None
    with store.writing_folder("steps/1", "state.json") as folder:
        for name in ("model", "state.json"):
            (folder / name).write_bytes(name.encode() * 100_000)
    assert next(troubles, None) is None
    puts = [line for line in server.log if line.startswith("PUT") and "steps/1" in line]
    assert puts[-1].endswith("state.json")  # the marker comes when all else is whole
    assert store.read_bytes("steps/1/model") == b"model" * 100_000


def test_large_files_go_up_and_down_with_parts_in_flight_at_the_same_time(store, server, tmp_path):
    """A request for a part waits for a second one."""
    together = {kind: threading.Barrier(2) for kind in ("up", "down")}

    def disturb(kind, path):
        if kind == "PUT" and "partNumber" in path:
            together["up"].wait(timeout=240)
        elif kind == "GET" and "model" in path and server.counts["GET"]:  # after that for the size
            together["down"].wait(timeout=240)

    server.disturb = disturb
    size = 100 * 2**20
    with store.writing_folder("steps/1", "state.json") as folder:
        with open(folder / "model", "wb") as file:
            file.truncate(size)
            file.seek(size - 3)
            file.write(b"end")
    assert [server.counts[kind] for kind in ("POST", "PUT")] == [2, 2]  # begun, two parts, joined
    with store.reading_folder("steps/1") as folder:
        assert (folder / "model").stat().st_size == size
        assert (folder / "model").read_bytes().endswith(b"\0end")
    assert server.counts["GET"] == 3


def test_a_slow_link_is_waited_for(store, server):
    data = os.urandom(300_000)
    store.write_bytes("a", data)
    server.disturb = lambda kind, path: "slow" if kind == "GET" else None
    with store.reading("a") as path:
        assert path.read_bytes() == data


def test_processes_of_a_host_share_one_download(store, server):
    for name in ("model", "optimizer", "state.json"):
        store.write_bytes(f"steps/1/{name}", name.encode())
    server.reset()
    inside = threading.Barrier(4)

    def read(_):
        with store.reading_folder("steps/1") as folder:
            inside.wait(timeout=240)
            return folder, (folder / "model").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(4)))
    assert {content for _, content in found} == {b"model"}
    assert len({folder for folder, _ in found}) == 1
    assert dict(server.counts) == {"LIST": 4, "GET": 3}
    assert not found[0][0].exists()  # the last one removes it


def test_further_stages_of_a_host_read_a_clip_without_asking(store, server, monkeypatch, tmp_path):
    monkeypatch.setenv("PAHA_CACHE", str(tmp_path))
    sha256 = store.write_bytes("clips/a.mp4", b"first")
    server.reset()
    for _ in range(3):
        with store.reading("clips/a.mp4", sha256) as path:
            assert path.read_bytes() == b"first"
    assert dict(server.counts) == {"GET": 1}
    sha256 = store.write_bytes("clips/a.mp4", b"second")  # cut again: another content
    with store.reading("clips/a.mp4", sha256) as path:
        assert path.read_bytes() == b"second"


def keypoints_of(number):
    """A still person, another one for each number, for a stage that reads keypoints."""
    points = np.full((4, 133, 2), 40.0 + number, np.float32)
    return Keypoints(points, np.ones((4, 133), np.float32), (64, 64), "drawn", "1", "")


def test_a_stage_asks_for_no_more_than_it_reads_and_writes(store, server, monkeypatch, tmp_path):
    """Six clips: face boxes and masks of keypoints that have the detected faces in their file."""
    boxes = np.tile(np.array([20, 10, 40, 30], np.float32), (4, 1))
    faces = FaceBoxes(boxes, np.ones(4, np.bool_), (64, 64), "mediapipe_face_detection").to_table()
    rows = []
    for clip in (f"set/a/{number}" for number in range(6)):
        with store.writing(f"keypoints/{clip}.parquet") as path:
            keypoints_of(len(rows)).save(path, faces)
            sha256 = sha256_file(path)
        row = {"clip_id": clip, "dataset": "set", "speaker": "a", "split": "train"}
        row |= {"status": "kept", "reason": "", "fingerprint": clip, "sha256": sha256}
        row |= {"face_detection": face_detection_version()}
        rows.append(row | {"path": f"keypoints/{clip}.parquet"})
    schema = pa.schema([*BASE_SCHEMA, *KEYPOINT_SCHEMA])
    for stage in ("clips", "keypoints"):
        table = pa.Table.from_pylist(rows, schema=schema)
        store.write_table(f"manifests/{stage}/set.parquet", table)

    def requests(stage, host):
        monkeypatch.setenv("PAHA_CACHE", str(tmp_path / host))
        server.reset()
        assert stage().kept == 6
        own = (line.split()[0] for line in server.log if "manifests" not in line)
        kinds = Counter(own)
        return kinds["GET"], kinds["PUT"], kinds["HEAD"]

    def face_boxes():
        return face_boxes_stage(store, "set", PoseConfig(), workers=0)

    def masks():
        return par_masks_stage(store, "set", ParConfig(), 8, workers=0)

    assert requests(face_boxes, "a") == (6, 6, 0)
    assert requests(masks, "a") == (0, 6, 0)
    store.remove("manifests/par_masks")
    assert requests(masks, "b") == (6, 6, 0)


def test_a_download_that_fails_leaves_nothing(tmp_path):
    def fill(folder):
        (folder / "half").touch()
        raise OSError("no space left")

    key = str(tmp_path)
    with pytest.raises(OSError, match="no space"), shared_on_host(key, fill):
        raise AssertionError("not reached")
    with shared_on_host(key, lambda folder: (folder / "whole").touch()) as folder:
        assert [path.name for path in folder.iterdir()] == ["whole"]


def test_a_created_file_whose_answer_got_lost_is_ours(store, server):
    puts = iter(["late cut"])
    server.disturb = lambda kind, path: next(puts, None) if kind == "PUT" else None
    assert store.create("claims/once", b"ours")
    assert not store.create("claims/once", b"theirs")


def test_an_outage_ends_in_one_sentence_and_is_remembered(store, server, monkeypatch):
    monkeypatch.setenv(outages.PATIENCE, "1")
    server.disturb = lambda kind, path: 503
    with pytest.raises(StoreUnavailable, match=r"can't be reached .* start the same command again"):
        store.read_bytes("a")
    monkeypatch.setenv(outages.PATIENCE, "1000")  # what comes right after does not try as long
    with pytest.raises(StoreUnavailable):
        store.write_bytes("b", b"x")


def test_what_is_no_outage_surfaces_at_once(store, server, monkeypatch):
    monkeypatch.setenv(outages.PATIENCE, "1000")
    server.reset()
    with pytest.raises(FileNotFoundError):
        store.read_bytes("absent")
    assert server.counts["GET"] == 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    refused = subprocess.run(
        [sys.executable, "-c", "import sys; from paha_core.store import Store;"
         "Store(sys.argv[1]).read_bytes('a')", store.url],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    last = refused.stderr.splitlines()[-1]
    assert f"UserError: {store.url} refuses access (" in last
    assert "check the access key" in last


def test_missing_credentials_are_an_error(store, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    code = (
        "import sys; from paha_core.store import Store; from paha_core.errors import UserError\n"
        "try: Store(sys.argv[1]).read_bytes('a')\n"
        "except UserError as error: print(error)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, store.url], capture_output=True, text=True, timeout=240
    )
    assert answer.stdout.startswith(f"no credentials for {store.url} on {os.uname().nodename}")


def noop(payload):
    raise AssertionError(f"{payload} is done")


def test_a_stage_with_nothing_to_do_asks_for_listings_alone(store, server):
    clips = [f"set/{speaker}/{n}" for speaker in ("a", "b") for n in range(20)]
    for clip in clips:
        store.write_bytes(f"made/{clip}", b"")
    jobs = [ClipWork(clip, clip, clip, {"speaker": clip.split("/")[1]}) for clip in clips]

    def update(work):
        server.reset()
        result = update_manifest(
            store, "stage", "set", jobs, work, extra_schema=pa.schema([]), workers=0
        )
        return result.computed, dict(server.counts)

    assert update(lambda clip: {"path": f"made/{clip}", "sha256": ""})[0] == 40
    table_cache._tables.clear()  # as a new process begins
    computed, counts = update(noop)
    assert computed == 0
    assert counts == {"LIST": 3, "GET": 2}  # a file for each speaker, read once
    jobs.append(ClipWork("set/a/new", "new", "new", {"speaker": "a"}))
    computed, counts = update(lambda clip: {"path": "made/set/a/0", "sha256": ""})
    assert computed == 1
    assert sum(counts.values()) < 20  # those of one manifest's file and of its claim; 40 clips stay
    server.reset()
    for _ in range(3):
        assert len(kept_rows(store, "stage", ["set"])) == 41
    assert server.counts["LIST"] == 3
    assert sum(server.counts.values()) <= 4  # the changed file is read once


def test_a_stored_report_costs_a_handful_of_requests(store, server):
    workspace = Workspace("smoke", store.url)
    row = dict.fromkeys(BASE_SCHEMA.names, "x") | {"status": "kept", "path": "generated/a.mp4"}
    for mode in ("unguided", "sequential"):
        table = pa.Table.from_pylist([row], schema=BASE_SCHEMA)
        store.write_table(f"manifests/generated_clips/{mode}.parquet", table)
    store.write_bytes("generated/a.mp4", b"video")
    ReportCache("generated_clips", workspace).save(StageReport("generated_clips", kept=1))
    table_cache._tables.clear()
    server.reset()
    assert ReportCache("generated_clips", workspace).load() is not None
    assert sum(server.counts.values()) <= 7, server.log
    store.write_bytes("manifests/generated_clips/unguided.parquet", b"another")
    assert ReportCache("generated_clips", workspace).load() is None
