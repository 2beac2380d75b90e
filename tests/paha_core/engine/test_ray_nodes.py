"""What a node lacks is an error before work starts; the cluster itself is tried in
test_manifest_stage.py."""

from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from paha_core.engine.ray_nodes import PROBES, check_nodes, lacking_here, places_of
from paha_core.errors import UserError
from paha_core.store import Store


@dataclass(frozen=True)
class Source:
    path: Path


@dataclass(frozen=True)
class Payload:
    store: Store
    sources: tuple[Source, ...]


def test_stores_and_local_files_are_found_in_payloads(tmp_path):
    store = Store(str(tmp_path))
    payloads = [Payload(store, (Source(tmp_path / name),)) for name in ("b", "a", "b")]
    assert places_of(payloads) == ([store], [tmp_path / "a", tmp_path / "b"])
    assert places_of(["a", 1, None]) == ([], [])


def test_a_node_lacks_nothing(tmp_path):
    store = Store(str(tmp_path))
    store.write_bytes("probe", b"")
    (tmp_path / "a.mp4").touch()
    assert lacking_here([store], [tmp_path / "a.mp4"], "probe") == ""


def test_another_folder_and_missing_footage_are_named(tmp_path):
    store = Store(str(tmp_path))
    assert "use one that all nodes share" in lacking_here([store], [], "probe")
    assert "a.mp4: put footage where" in lacking_here([], [tmp_path / "a.mp4"], "probe")


def test_a_node_without_credentials_is_refused(monkeypatch, tmp_path):
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of a test that had credentials
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "no credentials for s3://bucket" in lacking_here([Store("s3://bucket/x")], [], "probe")


class OneOfTwoNodes:
    """Stands in for Ray: two nodes, of which the second sees no local file."""

    def __init__(self, monkeypatch):
        ray = pytest.importorskip("ray")
        monkeypatch.setattr(ray, "nodes", self.nodes)
        monkeypatch.setattr(ray, "remote", lambda **_: lambda function: self)
        monkeypatch.setattr(ray, "get", lambda answer: answer)

    def nodes(self):
        return [{"NodeID": f"{n}" * 56, "NodeManagerHostname": f"host{n}", "Alive": True}
                for n in (1, 2)]  # fmt: skip

    def options(self, scheduling_strategy):
        self.node = scheduling_strategy.node_id
        return self

    def remote(self, stores, files, probe):
        files = [Path("/nowhere") / file.name for file in files] if self.node[0] == "2" else files
        return lacking_here(stores, files, probe)


def test_the_node_is_named_and_no_probe_is_left(tmp_path, monkeypatch):
    OneOfTwoNodes(monkeypatch)
    (tmp_path / "a.mp4").touch()
    store = Store(str(tmp_path / "store"))
    with pytest.raises(UserError, match=r"Ray's node host2 can't take part: it has no .*a.mp4"):
        check_nodes([Payload(store, (Source(tmp_path / "a.mp4"),))])
    check_nodes([Payload(store, ())])
    assert store.versions(PROBES) == {}
