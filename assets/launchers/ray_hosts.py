"""The entrypoint of a Ray job on several hosts: one command on each, with torchrun's variables.

    python -m assets.launchers.ray_hosts HOSTS RESOURCE=AMOUNT… -- COMMAND…

Its exit code is the highest of theirs. SIGTERM is passed on to every host, as Ray by itself would
only signal the processes beside this one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from paha_core.engine.processes import die_with_parent
from paha_core.engine.ray_nodes import PLAIN_PRIORITY


class Host:
    """The command's process on one host."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def address(self) -> tuple[str, int]:
        """This host's address, with a free port."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), int(probe.getsockname()[1])

    def run(self, command: Sequence[str], environment: dict[str, str]) -> int:
        if self.stopped:
            return 128 + signal.SIGTERM
        self.process = subprocess.Popen(
            command, env=os.environ | environment, preexec_fn=die_with_parent
        )
        return self.process.wait()

    def stop(self) -> None:
        self.stopped = True
        if self.process is not None:
            self.process.terminate()


def main(arguments: list[str]) -> int:
    split = arguments.index("--")
    hosts, *shares = arguments[:split]
    bundle = {name: float(amount) for name, amount in (share.split("=") for share in shares)}
    ray.init(log_to_driver=True)
    group = placement_group([bundle] * int(hosts), strategy="STRICT_SPREAD")
    ray.get(group.ready())
    actors: list[Any] = [
        ray.remote(Host)
        .options(
            max_concurrency=2,  # `stop` while `run` waits
            runtime_env=PLAIN_PRIORITY,
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
        )
        .remote()
        for index in range(int(hosts))
    ]
    signal.signal(signal.SIGTERM, lambda *_: [actor.stop.remote() for actor in actors])
    address, port = ray.get(actors[0].address.remote())
    shared = {"NNODES": hosts, "MASTER_ADDR": address, "MASTER_PORT": str(port)}
    running = [
        actor.run.remote(arguments[split + 1 :], shared | {"NODE_RANK": str(rank)})
        for rank, actor in enumerate(actors)
    ]
    codes: list[int] = ray.get(running)
    return max(128 - code if code < 0 else code for code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
