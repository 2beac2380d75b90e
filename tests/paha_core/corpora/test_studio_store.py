"""The studio corpus in an object store: rendered once, published whole, never downloaded."""

import uuid

import pytest

from paha_core.corpora.studio.store import render_to_store
from paha_core.store import Store

SETTINGS = {"programmes": 1, "seconds": 3, "height": 96, "workers": 1}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("studio")))
    render_to_store(store, "sources", **SETTINGS)
    return store


def content(store):
    files = list(store.versions("sources/"))
    return {rel: store.read_bytes(rel) for rel in files}


def test_an_object_store_gets_the_same_bytes_as_a_folder(local):
    remote = Store(f"memory://{uuid.uuid4().hex}")
    first = render_to_store(remote, "sources", **SETTINGS)
    assert all(programme.rendered for programme in first)
    assert content(remote) == content(local)
    before = remote.versions("sources/")
    again = render_to_store(remote, "sources", **SETTINGS)
    assert not any(programme.rendered for programme in again)
    assert remote.versions("sources/") == before  # nothing was uploaded again


def test_an_interrupted_rendering_resumes_and_what_left_the_corpus_is_removed(local):
    remote = Store(f"memory://{uuid.uuid4().hex}")
    for rel, data in content(local).items():
        remote.write_bytes(rel, data)
    lost = remote.glob("sources/cnas/*/*.mp4")[0]
    remote.remove(lost)
    again = render_to_store(remote, "sources", **SETTINGS)
    assert [programme.rendered for programme in again].count(True) == 1
    assert content(remote) == content(local)
    assert render_to_store(remote, "sources", **SETTINGS | {"programmes": 0}) == ()
    left = remote.versions("sources/").keys()
    assert left == {"sources/corpus.json", "sources/pats/intervals.csv"}
