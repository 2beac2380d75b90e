"""Checks each node of a Ray cluster before work is sent there: it must have the stores and local
files that the payloads name, and the packages that open them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from paha_core.errors import UserError
from paha_core.store import Store

LOOKED_AT = 500  # payloads: those of one stage are alike
PROBES = "claims/nodes"
# Ray starts the processes of tasks and actors at niceness 15: beside any other work on the node
# they get next to no time, and a training in step with another host's never ends.
PLAIN_PRIORITY = {"env_vars": {"RAY_worker_niceness": "0"}}


def check_nodes(payloads: Sequence[Any]) -> None:
    """Raises `UserError` that names a node, what it lacks and what to do, before any work starts.

    Local folders are allowed: on one host, or on a file system that all nodes share, they are
    found.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    stores, files = places_of(payloads[:LOOKED_AT])
    probe = f"{PROBES}/{uuid.uuid4().hex}"
    for store in stores:
        store.writable.write_bytes(probe, b"")
    try:
        asked = {}
        for node, host in nodes.items():
            pinned = NodeAffinitySchedulingStrategy(node, soft=False)
            task = ray.remote(num_cpus=0)(lacking_here).options(scheduling_strategy=pinned)
            asked[host] = task.remote(stores, files, probe)
        for host, answer in asked.items():
            try:
                lacking = ray.get(answer)
            except RayError as error:
                reason = str(error).strip().splitlines()[-1]
                lacking = f"this project can't be imported ({reason}): install it there as here"
            if lacking:
                raise UserError(f"Ray's node {host} can't take part: {lacking}")
    finally:
        for store in stores:
            store.writable.remove(probe)


def lacking_here(stores: Sequence[Store], files: Sequence[Path], probe: str) -> str:
    """A sentence about what this host lacks; empty if nothing."""
    for store in stores:
        try:
            found = store.exists(probe)
        except UserError as error:  # no credentials, or no way there: it says so
            return str(error)
        except OSError as error:
            return f"{store.url} can't be read there ({error})"
        if not found:
            return (
                f"{store.url} is another folder there than on the driver's host: use one "
                "that all nodes share, or an object store"
                if store.is_local
                else f"{store.url} is another store there: check the endpoint in its environment"
            )
    for file in files:
        if not file.exists():
            return (
                f"it has no {file}: put footage where all nodes see it, in a shared folder under "
                "the same path or an object store"
            )
    return ""


def places_of(payloads: Sequence[Any]) -> tuple[list[Store], list[Path]]:
    """The stores and the local files that the payloads name, each once."""
    found = list(_places(payloads))
    stores = {each.url: each for each in found if isinstance(each, Store)}
    return list(stores.values()), sorted({each for each in found if isinstance(each, Path)})


def _places(value: Any) -> Iterator[Store | Path]:
    if isinstance(value, Store | Path):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _places(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _places(getattr(value, entry.name))
