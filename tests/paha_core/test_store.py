"""What is written appears whole or not at all, on disks and in object stores."""

import uuid

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from paha_core.errors import UserError
from paha_core.local_files import UNFINISHED, published
from paha_core.store import Store


class Failing(MemoryFileSystem):
    """An object store whose connection breaks after so many uploads."""

    cachable = False

    def __init__(self, uploads):
        super().__init__()
        self.uploads = uploads

    def put_file(self, *arguments, **options):
        if self.uploads == 0:
            raise OSError("connection reset")
        self.uploads -= 1
        super().put_file(*arguments, **options)


def write_checkpoint(store, content):
    with store.writing_folder("steps/1", "state.json") as folder:
        for name in ("a.safetensors", "state.json", "tokens/config.json", "z.safetensors"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)


def cut_off(path):
    path.write_text("half")
    raise RuntimeError("power cut")


def read_checkpoint(store):
    with store.reading_folder("steps/1") as folder:
        return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_with_its_marker_is_whole_wherever_the_upload_breaks():
    store = Store(f"memory://{uuid.uuid4().hex}")
    whole = dict.fromkeys(
        ("a.safetensors", "state.json", "tokens/config.json", "z.safetensors"), "old"
    )
    for uploads in range(len(whole)):
        write_checkpoint(store, "old")
        broken = Store(store.url)
        broken.fs = Failing(uploads)
        with pytest.raises(OSError, match="connection reset"):
            write_checkpoint(broken, "new")
        assert not store.exists("steps/1/state.json")
        write_checkpoint(store, "old")
        assert read_checkpoint(store) == whole


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def test_a_failure_leaves_a_local_folder_as_it_was(store):
    write_checkpoint(store, "old")
    before = read_checkpoint(store)
    with pytest.raises(RuntimeError, match="power cut"), store.writing_folder("steps/1") as folder:
        cut_off(folder / "state.json")
    assert read_checkpoint(store) == before
    assert store.glob("steps/*") == ["steps/1"]


def test_what_a_kill_leaves_is_never_found_and_is_tidied(store):
    write_checkpoint(store, "whole")
    store.write_bytes("steps/video.mp4", b"whole")
    writers = store.writing_folder("steps/1"), store.writing("steps/video.mp4")
    for writer, name in zip(writers, ("state.json", ""), strict=True):
        path = writer.__enter__()  # and never out of it: the process is gone
        (path / name).write_text("half")
    everything = [str(p) for p in (store.fs.glob(f"{store.root}/steps/*"))]
    assert len(everything) == 4
    assert store.glob("steps/*/state.json") == ["steps/1/state.json"]
    assert store.glob("steps/*.mp4") == ["steps/video.mp4"]
    store.tidy("steps", seconds=3600)
    assert [str(p) for p in (store.fs.glob(f"{store.root}/steps/*"))] == everything
    store.tidy("steps")
    left = [str(p) for p in (store.fs.glob(f"{store.root}/steps/*"))]
    assert left == [store.full("steps/1"), store.full("steps/video.mp4")]


def test_a_published_file_replaces_the_old_one_at_the_end(tmp_path):
    target = tmp_path / "new" / "clip.wav.json"
    for content in ("first", "second"):
        before = target.read_text() if target.exists() else None
        with published(target) as path:
            path.write_text(content)
            assert path.suffixes[-2:] == [".wav", ".json"]
            assert (target.read_text() if target.exists() else None) == before
        assert target.read_text() == content
    with pytest.raises(RuntimeError, match="power cut"), published(target) as path:
        cut_off(path)
    assert target.read_text() == "second"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".mp4", "好" * 83 + "xx.mp4", "a." + "b" * 249 + ".wav"]
)
def test_a_name_of_the_longest_length_can_be_published(tmp_path, name):
    with published(tmp_path / name) as path:
        path.write_text("new")
        assert UNFINISHED.search(path.name)
        assert path.suffix == name[-4:]
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_an_unsupported_url_is_an_error():
    with pytest.raises(UserError, match="nosuch://x can't be a store"):
        Store("nosuch://x")


def test_a_path_stays_inside(store):
    for rel in ("/etc/passwd", "a/../../b"):
        with pytest.raises(ValueError, match="leaves the store"):
            store.full(rel)


@pytest.mark.parametrize("name", ["demo [v2]", "run?", "a*b", "#1 {x}", "!a"])
def test_a_store_below_an_odd_path_finds_its_files(tmp_path, name):
    for url in (str(tmp_path / name), f"memory://{uuid.uuid4().hex}/{name}"):
        store = Store(url)
        Store(url.replace(name, "demo v")).write_bytes("clips/other.mp4", b"another store's")
        store.write_bytes("clips/a.mp4", b"x")
        assert store.glob("clips/*.mp4") == ["clips/a.mp4"]
        assert store.glob("**/*.mp4") == ["clips/a.mp4"]


def test_only_the_first_creates_a_file(tmp_path):
    for url in (str(tmp_path), f"memory://{uuid.uuid4().hex}"):
        store = Store(url)
        assert store.create("claims/a.json", b"first")
        assert not store.create("claims/a.json", b"second")
        assert store.read_bytes("claims/a.json") == b"first"
        assert store.glob("claims/*") == ["claims/a.json"]
        store.remove("claims/a.json")
        assert store.create("claims/a.json", b"third")
