"""Nobody outlives a process that was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

START = """
import multiprocessing, os, sys, time
from paha_core.engine.processes import die_with_creator, die_with_parent

def work(ready):
    {call}()
    ready.put(os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    ready = context.Queue()
    context.Process(target=work, args=(ready,)).start()
    print(ready.get(), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("call", "method"), [("die_with_parent", "spawn"), ("die_with_creator", "forkserver")]
)
def test_a_worker_ends_when_its_maker_is_killed(tmp_path, call, method):
    script = tmp_path / "maker.py"
    script.write_text(START.format(call=call, method=method))
    maker = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert maker.stdout is not None
    worker = int(maker.stdout.readline())
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    deadline = time.monotonic() + 120
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
