"""Finding source videos, and the bounded copies of remote ones."""

from __future__ import annotations

import unicodedata

import fsspec
import pytest

from paha_core.corpora import source_cache
from paha_core.corpora.source_cache import cache_folder, local_file
from paha_core.corpora.source_files import (
    find_sources,
    list_sources,
    video_id,
)
from paha_core.engine.manifest_stage import Rejection, TransientError
from paha_core.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAHA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bucket(tmp_path) -> str:
    fs = fsspec.filesystem("memory")
    for n in range(4):
        fs.pipe(f"/{tmp_path.name}/sub/video {n}.mp4", bytes([n]) * 1000)
    fs.pipe(f"/{tmp_path.name}/.parts/x.mp4", b"x")
    return f"memory://{tmp_path.name}"


def test_by_name_then_stem_then_id(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".parts").mkdir()
    names = ("a b #1.mp4", "sub/c.mkv", "sub/d.mp4", ".parts/h.mp4", ".i.mp4")
    ids = ("qsNst-6SB0c.mp4", "Another [cyBPoiRNpYY].webm", "Old-abcdefghijk.mp4")
    for name in (*names, *ids):
        (tmp_path / name).touch()
    watch = "https://www.youtube.com/watch?v="
    wanted = {
        ("a b #1.mp4", ""): "a b #1.mp4",
        ("c.webm", ""): "c.mkv",
        ("d.mp4", watch + "qsNst-6SB0c"): "d.mp4",  # the name counts before the link
        ("gone.mp4", watch + "qsNst-6SB0c"): "qsNst-6SB0c.mp4",
        ("gone too.mp4", "https://youtu.be/cyBPoiRNpYY?t=3"): "Another [cyBPoiRNpYY].webm",
        ("Title as PATS has it-abcdefghijk.webm", ""): None,  # may be a word of eleven letters
        ("Title-abcdefghijk.webm", watch + "abcdefghijk"): "Old-abcdefghijk.mp4",
        ("e.mp4", ""): None,
        ("../x", ""): None,
        ("h.mp4", ""): None,
        ("i.mp4", watch): None,
    }
    found = find_sources(wanted, list_sources(tmp_path))
    assert {key: file.name for key, file in found.items()} == {k: v for k, v in wanted.items() if v}


@pytest.mark.parametrize(
    ("link", "id"),
    [
        ("https://www.youtube.com/watch?v=qsNst-6SB0c&t=3", "qsNst-6SB0c"),
        ("http://youtube.com/embed/qsNst-6SB0c", "qsNst-6SB0c"),
        ("https://youtu.be/qsNst-6SB0c", "qsNst-6SB0c"),
        ("https://music.youtube.com/watch?v=qsNst-6SB0c&si=x", "qsNst-6SB0c"),
        ("https://www.youtube.com/shorts/qsNst-6SB0c", "qsNst-6SB0c"),
        ("youtube.com/watch?v=qsNst-6SB0c", "qsNst-6SB0c"),
        ("qsNst-6SB0c", "qsNst-6SB0c"),
        ("https://www.youtube.com/user/x", ""),
        ("http://media.example.com/embed/mgid:arc:video:a.com:94bd6b0b-6571", "94bd6b0b-6571"),
        ("http://127.0.0.1:80/films/talk.mp4?x=1", "talk"),
        ("not a link", ""),
        ("", ""),
    ],
)
def test_video_ids(link, id):
    assert video_id(link) == id


def test_a_folder_that_is_not_there(tmp_path):
    for folder in (tmp_path / "none", "memory://none-at-all"):
        with pytest.raises(FileNotFoundError, match="no folder of source videos"):
            list_sources(folder)


def test_remote_files_are_copied_once_and_the_oldest_copy_goes(bucket, cache, monkeypatch):
    files = list_sources(bucket)
    assert [f.name for f in files] == [f"video {n}.mp4" for n in range(4)]
    for n in (0, 1, 0):
        with local_file(files[n], 2500) as path:
            assert path.read_bytes() == bytes([n]) * 1000
    fetched = []
    fetch = source_cache._fetch
    monkeypatch.setattr(
        source_cache, "_fetch", lambda file, path: (fetched.append(file.name), fetch(file, path))
    )
    with local_file(files[0], 2500) as used:  # in use, so 1 makes room although it is younger
        for n in (2, 3):
            with local_file(files[n], 2500) as path:
                assert path.read_bytes() == bytes([n]) * 1000
        assert used.read_bytes() == bytes(1000)
    assert fetched == ["video 2.mp4", "video 3.mp4"]
    copies = list(cache.glob("*.mp4"))
    assert sum(p.stat().st_size for p in copies) <= 2500
    assert not list(cache.glob("*.part"))
    assert cache_folder().stat().st_mode & 0o077 == 0


def test_what_a_killed_fetch_left_makes_room(bucket, cache):
    (cache / "0123.mp4.part").parent.mkdir(exist_ok=True)
    (cache / "0123.mp4.part").write_bytes(bytes(5000))
    with local_file(list_sources(bucket)[0], 2500) as path:
        assert path.exists()
    assert not list(cache.glob("*.part"))


def test_several_matching_files_are_an_error(tmp_path):
    for name in ("ada/talk.mp4", "ben/talk.mp4", "x-abcdefghijk.mp4", "y [abcdefghijk].mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    link = "https://youtu.be/abcdefghijk"
    found = find_sources([("talk.mp4", ""), ("z.mp4", link)], list_sources(tmp_path))
    assert "'ada/talk.mp4', 'ben/talk.mp4'" in str(found["talk.mp4", ""])
    assert isinstance(found["z.mp4", link], Rejection)


def test_without_keys_an_object_store_is_one_sentence(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(UserError, match="credentials"):
        list_sources("s3://a-bucket-of-nobody/videos")


def test_remote_files_that_can_not_be_had(bucket):
    file = list_sources(bucket)[0]
    with pytest.raises(Rejection, match="larger than the cache"), local_file(file, 100):
        pass
    fsspec.filesystem("memory").rm(file.url.removeprefix("memory://"))
    with pytest.raises(TransientError, match="can't be fetched"), local_file(file, 5000):
        pass


def test_local_files_are_themselves(tmp_path):
    with (
        pytest.raises(TransientError, match="not in the folder"),
        local_file(tmp_path / "a.mp4", 1),
    ):
        pass
    (tmp_path / "a.mp4").touch()
    with local_file(tmp_path / "a.mp4", 1) as path:
        assert path == tmp_path / "a.mp4"


def test_what_a_downloader_leaves_beside_a_video_is_no_source(tmp_path, caplog):
    beside = ("webp", "jpg", "description", "info.json", "en.vtt", "mp4.part", "live_chat.json")
    for ending in ("mp4", *beside):
        (tmp_path / f"Title [qsNst-6SB0c].{ending}").touch()
    (tmp_path / "Thumbs.db").touch()
    (tmp_path / "README").touch()
    (tmp_path / "B.MKV").touch()
    with caplog.at_level("INFO"):
        files = list_sources(tmp_path)
    assert [file.name for file in files] == ["B.MKV", "Title [qsNst-6SB0c].mp4"]
    assert "2 x .json" in caplog.text
    key = ("", "https://youtu.be/qsNst-6SB0c")
    assert find_sources([key], files)[key] == files[1]


def test_names_are_compared_in_unicodes_composed_form(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Köln é.mp4")
    (tmp_path / decomposed).touch()
    key = (unicodedata.normalize("NFC", "Köln é.mp4"), "")
    assert find_sources([key], list_sources(tmp_path))[key].name == decomposed
