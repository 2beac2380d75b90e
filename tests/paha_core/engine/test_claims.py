"""One holder of a piece of work, also when processes race for it, die or lose their connection."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import asdict, replace

import pytest

from paha_core.benchmark.tables.variants import OverlayStore
from paha_core.engine import claims
from paha_core.engine.claims import ClaimedError, Holder, claimed, holder_of, try_claim
from paha_core.store import Store

NAME = "checkpoints/univdm"


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def fast(monkeypatch):
    """Heartbeats in tens of milliseconds; returns their interval."""
    for name, seconds in (("BEAT", 0.05), ("LEASE", 0.2), ("WATCH", 0.5)):
        monkeypatch.setattr(claims, name, seconds)
    return 0.05


def elsewhere(store, beat, **changes):
    """A claim that a process of another host made."""
    holder = replace(Holder("gpu7", 4711, uuid.uuid4().hex, beat, beat), **changes)
    rel = f"claims/{NAME}/{claims._latest(store, NAME) + 1:06d}.json"
    store.write_bytes(rel, json.dumps(asdict(holder)).encode())
    return rel, holder


def test_the_second_gets_the_name_of_the_holder(store):
    with claimed(store, NAME, "training univdm"):
        assert try_claim(store, NAME) is None
        with pytest.raises(ClaimedError) as refused, claimed(store, NAME, "training univdm"):
            pass
        message = str(refused.value)
        assert f"process {os.getpid()} on {os.uname().nodename}" in message
        assert message.startswith(f"training univdm in {store.url} is under way")
        assert refused.value.holder.pid == os.getpid()
    assert holder_of(store, NAME) is None
    with claimed(store, NAME, "training univdm"):
        assert holder_of(store, NAME) is not None


def test_claims_of_other_names_do_not_meet(store):
    with claimed(store, NAME, "training"), claimed(store, f"{NAME}/negatives", "generating"):
        assert try_claim(store, NAME) is None
        assert try_claim(store, f"{NAME}/negatives") is None


def test_a_claim_is_kept_alive_and_leaves_one_small_file(store, fast):
    with claimed(store, NAME, "training") as claim:
        first = holder_of(store, NAME).beat
        deadline = time.monotonic() + 240
        while holder_of(store, NAME).beat == first and time.monotonic() < deadline:
            time.sleep(fast)
        assert holder_of(store, NAME).beat > first
        assert not claim.lost
    for _ in range(3):
        with claimed(store, NAME, "training"):
            pass
    assert store.glob("claims/**/*.json") == [f"claims/{NAME}/000004.json"]


def test_a_dead_host_is_relieved_and_a_living_one_is_not(store, fast):
    rel, _ = elsewhere(store, beat=time.time())
    assert try_claim(store, NAME) is None  # a fresh heartbeat
    old, holder = elsewhere(store, beat=time.time() - 3600)
    claim = try_claim(store, NAME)
    assert claim is not None
    assert holder_of(store, NAME).pid == os.getpid()
    assert not store.exists(old)
    assert not store.exists(rel)
    claim.release()
    del holder


def test_a_host_whose_clock_is_an_hour_late_keeps_its_claim(store, monkeypatch):
    for name, seconds in (("LEASE", 0.2), ("WATCH", 0.5)):
        monkeypatch.setattr(claims, name, seconds)
    rel, holder = elsewhere(store, beat=time.time() - 3600)
    watched = claims._read

    def beating(*arguments):
        """Every look at the file finds one more heartbeat, by that host's clock."""
        now = watched(*arguments)
        store.write_bytes(rel, json.dumps(asdict(replace(now, beat=now.beat + 1))).encode())
        return now

    monkeypatch.setattr(claims, "_read", beating)
    assert try_claim(store, NAME) is None
    assert holder_of(store, NAME).host == holder.host


def test_a_claimant_whose_claim_was_taken_over_does_not_release_it(store, fast):
    with claimed(store, NAME, "training") as claim:
        elsewhere(store, beat=time.time())
        deadline = time.monotonic() + 240
        while not claim.lost and time.monotonic() < deadline:
            time.sleep(fast)
        with pytest.raises(ClaimedError, match="was taken over by process 4711 on gpu7"):
            claim.check()
    assert holder_of(store, NAME).host == "gpu7"


RACE = """
import sys, time
from paha_core.engine.claims import try_claim
from paha_core.store import Store
print("ready", flush=True)
sys.stdin.readline()
claim = try_claim(Store(sys.argv[1]), "work")
print("held" if claim else "refused", flush=True)
sys.stdin.readline()
"""


def racers(store, count):
    command = [sys.executable, "-c", RACE, store.url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for racer in started:
        assert racer.stdout.readline() == "ready\n"
    for racer in started:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    return started, [racer.stdout.readline().strip() for racer in started]


def test_of_several_processes_one_holds_it_and_a_killed_one_is_relieved(tmp_path):
    store = Store(str(tmp_path))
    first, answers = racers(store, 4)
    try:
        assert sorted(answers) == ["held", "refused", "refused", "refused"]
        holder = first[answers.index("held")]
        assert holder_of(store, "work").pid == holder.pid
        assert try_claim(store, "work") is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        second, answers = racers(store, 4)
        first += second
        assert answers.count("held") == 1
    finally:
        for racer in first:
            racer.kill()
            racer.communicate()


def test_the_claims_of_a_variant_are_its_own(tmp_path):
    below = Store(str(tmp_path))
    over = OverlayStore(f"{below.url}/variants/x", below.url)
    with claimed(below, NAME, "training"), claimed(over, NAME, "training the variant"):
        assert try_claim(over, NAME) is None
    assert below.glob("claims/**/*.json") == [f"claims/{NAME}/000001.json"]
    assert over.top.glob("claims/**/*.json") == [f"claims/{NAME}/000001.json"]
