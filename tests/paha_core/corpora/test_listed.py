"""Lists that others published, in rows of their published form, and what becomes of them."""

import json
import math

import pytest

from paha_core.config import ClipConfig, CorporaConfig
from paha_core.config.columns import column_map_names, load_column_map
from paha_core.corpora.intervals import PatsInterval
from paha_core.corpora.listed import crop_of, read_listed
from paha_core.corpora.pats import ingest_pats
from paha_core.corpora.regions import Crop
from paha_core.engine.manifest_stage import Rejection, read_manifest
from paha_core.errors import UserError

TALKVID = {
    "id": "videovideoTr6MMsoWAog-scene1-scene1",
    "height": 1080,
    "width": 1920,
    "fps": 24.0,
    "start-time": 0.1,
    "start-frame": 0,
    "end-time": 5.141666666666667,
    "end-frame": 121,
    "durations": "5.042s",
    "info": {
        "Person ID": "597",
        "Video Link": "https://www.youtube.com/watch?v=Tr6MMsoWAog",
        "Language": "English",
    },
    "dover_scores": 8.9,
}
SPEAKERVID = {
    "num_frames": 150,
    "is_talking": 1,
    "clip_speaker_num": 1,
    "video_name": "Tr6MMsoWAog_full_video_1080x1920_001",
    "video_total_duration": 6.0,
    "org_start_seconds": 12.4,
    "bbox": [0.25, 0.0, 0.75, 1.0],
    "conf": 5.1,
    "speaker": ["SPEAKER_00"],
    "raw_video_height": 1080,
    "raw_video_width": 1920,
}


def read(name, path):
    return read_listed(path, load_column_map(name))


def test_every_map_of_the_package_is_valid_and_names_its_licence():
    names = column_map_names()
    assert {"talkvid", "speakervid_5m", "hdtf", "avspeech", "talkverse"} <= set(names)
    assert all(load_column_map(name).licence for name in names)


def test_talkvid(tmp_path):
    path = tmp_path / "filtered_video_clips.json"
    path.write_text(json.dumps([TALKVID, TALKVID | {"end-time": "?"}]))
    [clip, bad] = read("talkvid", path)
    assert (clip.speaker, clip.video, clip.id) == ("597", "Tr6MMsoWAog", TALKVID["id"])
    assert (clip.start, clip.end) == (0.1, 5.141666666666667)
    assert "can't be read" in bad.problem


def test_speakervid(tmp_path):
    name = "Tr6MMsoWAog_full_video_1080×1920_001_A"
    (tmp_path / f"{name}.json").write_text(json.dumps(SPEAKERVID))
    later = {k: v for k, v in SPEAKERVID.items() if k != "org_start_seconds"}
    sized = "Tr6MMsoWAog_1080x1920_full_video_1080x1920_002_A"
    (tmp_path / f"{sized}.json").write_text(json.dumps(later | {"start_seconds": 30.0}))
    [second, first] = read("speakervid_5m", tmp_path)
    assert (first.id, first.video, first.speaker) == (name, "Tr6MMsoWAog", "Tr6MMsoWAog")
    assert first.link == "https://www.youtube.com/watch?v=Tr6MMsoWAog" == second.link
    assert (first.start, first.end, second.start) == (12.4, 18.4, 30.0)
    square = crop_of(first, "xyxy_shares", 1920, 1080)
    assert square == Crop(420, 0, 1080), "the person's box is as high as the picture"


def test_hdtf(tmp_path):
    (tmp_path / "RD_video_url.txt").write_text(
        "Radio11 https://www.youtube.com/watch?v=XtySvTwIOfw\n"
        "Radio15 https://www.youtube.com/watch?v=0EHNIWy8l3w\n"
        "Radio24 https://www.youtube.com/watch?v=cU0JPT3n9B4\n"
    )
    (tmp_path / "RD_annotion_time.txt").write_text(
        "Radio11.mp4 00:30-01:00 01:30-02:30\nRadio15.mp4 00:35-00:45\n"
    )
    (tmp_path / "RD_crop_wh.txt").write_text(
        "Radio11_0.mp4 412 599 0 599\nRadio11_1.mp4 557 478 0 478\n"
    )
    [first, second, boxless] = read("hdtf", tmp_path)
    assert (second.id, second.speaker, second.video) == ("Radio11_1", "Radio11", "Radio11")
    assert (second.start, second.end) == (90.0, 150.0)
    assert crop_of(first, "xywh_pixels", 1280, 720) == Crop(412, 0, 599)
    assert crop_of(second, "xywh_pixels", 1280, 720) == Crop(557, 0, 478)
    assert "box" in boxless.problem
    with pytest.raises(Rejection, match="640x360"):  # another resolution than the list's
        crop_of(first, "xywh_pixels", 640, 360)


def test_avspeech(tmp_path):
    path = tmp_path / "avspeech_test.csv"
    path.write_text(
        "u5MPyrRJPmc,10.010000,13.346667,0.910417,0.25\nAvWWVOgaMlk,90.0,93.5,0.5,0.2\n"
    )
    [first, second] = read("avspeech", path)
    assert (first.speaker, first.video, first.id) == ("u5MPyrRJPmc", "u5MPyrRJPmc", "10")
    assert (first.start, first.end, second.start) == (10.01, 13.346667, 90.0)
    assert crop_of(first, "centre_shares", 1280, 720) == Crop(560, 0, 720), "moved into the picture"
    assert crop_of(second, "centre_shares", 1280, 720) == Crop(280, 0, 720)


def test_talkverse_lists_whole_files(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("video_path,prompt\npanda70m/videos/0a/abc_12.mp4,a man talks\n")
    [clip] = read("talkverse", path)
    assert (clip.id, clip.speaker, clip.video) == ("abc_12", "abc_12", "abc_12.mp4")
    assert (clip.start, clip.end) == (0.0, math.inf)


def test_another_version_of_a_list_is_refused_by_name(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{key: TALKVID[key] for key in ("id", "start-time", "info")}]))
    with pytest.raises(UserError, match=r"no column end-time; its first row has 'id'"):
        read("talkvid", path)
    path.write_text("{}")
    with pytest.raises(UserError, match="no json list"):
        read("talkvid", path)


def test_names_that_would_leave_their_folder_are_rows_with_a_reason(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([TALKVID | {"id": "../../secret"}]))
    assert "not a plain name" in read("talkvid", path)[0].problem


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"columns": {"id": "a", "speaker": "b"}}, "video"),
        ({"columns": {"id": {"column": "a", "match": "("}, "speaker": "b"}}, "regular expression"),
        ({"colums": {}}, "colums"),
    ],
)
def test_a_wrong_map_is_refused_by_its_key(tmp_path, wrong, words):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"title": "t", "licence": "l"} | wrong))
    with pytest.raises(UserError, match=words):
        load_column_map(str(path))


def test_an_entry_of_a_maps_name_has_its_licence_and_filters():
    config = CorporaConfig(
        talkvid={"csv": "list.json", "videos": "videos"},
        mine={"kind": "hdtf", "csv": "HDTF_dataset", "videos": "hdtf", "licence": "asked for"},
    )
    talkvid, mine = config.entry("talkvid"), config.entry("mine")
    assert (talkvid.kind, talkvid.columns, talkvid.min_facing) == ("pats", "talkvid", 50)
    assert talkvid.licence.startswith("CC BY-NC 4.0")
    assert (mine.columns, mine.licence, mine.min_seconds) == ("hdtf", "asked for", 4)
    again = CorporaConfig(**config.settings())
    assert again == config, "what is stored says the same"


def test_a_map_of_ones_own_ingests_clips(store, counter, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    counter(videos / "talk.mp4")  # three seconds, 96x64
    counter(videos / "short.mp4", frames=20)
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nlicence: my own\nformat: csv\n"
        "columns: {id: n, speaker: who, video: file, box: [x, y]}\nbox: centre_shares\n"
        "entry: {min_seconds: 1, min_face_share: null, max_still_seconds: null, max_seconds: 2}\n"
    )
    (tmp_path / "list.csv").write_text(
        "n,who,file,x,y\n1,ada,talk.mp4,0.9,0.5\n2,ada,short.mp4,0.5,0.5\n3,ada,gone.mp4,0.5,0.5\n"
    )
    entry = {"kind": "pats", "columns": str(tmp_path / "mine.yaml"), "csv": "-", "videos": "-"}
    config = CorporaConfig(clip=ClipConfig(size=64), mine=entry)
    ingest_pats(store, config, "mine", tmp_path / "list.csv", videos)
    rows = {row["interval"]: row for row in read_manifest(store, "clips", "mine")}
    assert (rows["1"]["status"], rows["1"]["frames"]) == ("kept", 50), rows["1"]["reason"]
    assert (rows["1"]["crop"], rows["1"]["licence"]) == ("[32, 0, 64]", "my own")
    assert rows["2"]["reason"] == "shorter than 1 s"
    assert "not in the folder" in rows["3"]["reason"]


def test_speakers_are_held_out_where_a_list_has_no_split():
    from paha_core.corpora.intervals import split_intervals

    entry = CorporaConfig(talkvid={"csv": "-", "videos": "-", "test_share": 0.2}).entry("talkvid")
    intervals = [PatsInterval(str(n // 2), "v", str(n), 0, 1, "") for n in range(400)]
    splits = split_intervals(intervals, entry)
    assert all(a == b for a, b in zip(splits[::2], splits[1::2], strict=True)), "whole speakers"
    assert 0.1 < splits.count("test") / len(splits) < 0.3


def test_without_a_box_the_square_follows_the_face(store, tmp_path):
    import numpy as np

    from paha_core.corpora.studio.programme import draw_frames, prepare
    from paha_core.media.encode import write_video

    drawn = prepare("ada", 0, seconds=1, height=128, seed=0)
    left, _, side = drawn.crop
    square = next(iter(draw_frames(drawn)))[:, left : left + side]
    shown = np.concatenate([np.full((side, 2 * side, 3), 90, np.uint8), square], axis=1)
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "talk.mp4", [shown] * 25, fps=25, wave=wave, sample_rate=16000)
    (tmp_path / "metadata.csv").write_text("video_path,prompt\na/talk.mp4,a woman talks\n")
    filters = {"min_seconds": 1, "max_still_seconds": None, "min_face_share": 0.9}
    entry = {"csv": "-", "videos": "-"} | filters
    config = CorporaConfig(clip=ClipConfig(size=128), talkverse=entry)
    ingest_pats(store, config, "talkverse", tmp_path / "metadata.csv", videos)
    [row] = read_manifest(store, "clips", "talkverse")
    assert row["status"] == "kept", row["reason"]
    at, top, size = json.loads(row["crop"])
    assert (top, size) == (0, 128)
    assert at > 1.8 * side, "the picture's centre is at 128, the person's square at 256"
    again = ingest_pats(store, config, "talkverse", tmp_path / "metadata.csv", videos)
    assert again.computed == 0
    [kept] = read_manifest(store, "clips", "talkverse")
    assert kept["crop"] == row["crop"]
