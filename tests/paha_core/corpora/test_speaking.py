"""Of several people in the picture, the one who speaks is followed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawn_lips import SAMPLES, mouth, voice

from paha_core.corpora.cnas import ingest_cnas
from paha_core.corpora.filters import ClipData, find_faces
from paha_core.corpora.regions import Crop, alone
from paha_core.corpora.speaking import Person, follow_people, who_speaks
from paha_core.engine.manifest_stage import Rejection
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.video import iter_frames

SQUARE = "crop=ih:ih:(iw-ih)/2:0,scale=256:256"


def clip_of(wave: np.ndarray, speech: float = 1.0) -> ClipData:
    clip = ClipData([], np.zeros((len(wave) // SAMPLES, 1, 1), np.uint8), wave)
    clip.__dict__["speech_probability"] = np.full(len(wave) // 512, speech, np.float32)
    return clip


def person(opening: np.ndarray) -> Person:
    return Person([(0.1, 0.1, 0.3, 0.3)], opening)


def test_who_speaks():
    listens = person(np.full(125, 0.01))
    speaks, other = person(mouth(1)), person(mouth(2))
    clip = clip_of(voice(mouth(1)))
    assert who_speaks([listens, speaks], clip) is speaks
    assert who_speaks([other, speaks], clip) is speaks  # both move their lips
    assert who_speaks([listens], clip) is listens  # alone: the filters judge
    with pytest.raises(Rejection, match="none of the 2 people"):
        who_speaks([listens, listens], clip)
    with pytest.raises(Rejection, match="not clear"):
        who_speaks([speaks, person(mouth(1))], clip)
    with pytest.raises(Rejection, match="none of the 2 people"):
        who_speaks([other, speaks], clip_of(voice(mouth(1)), speech=0.0))
    with pytest.raises(Rejection, match="no face"):
        who_speaks([], clip)


def test_the_square_of_one_person_alone():
    left, right = (0.2, 0.3, 0.3, 0.5), (0.55, 0.3, 0.65, 0.5)
    # 1000 x 500: the other face begins at 550, so the square of 500 fits to its left
    assert alone(left, [right], Crop(100, 0, 500), 1000, 500) == Crop(0, 0, 500)
    assert alone(left, [], Crop(100, 0, 500), 1000, 500) == Crop(100, 0, 500)
    smaller = alone(left, [(0.42, 0.3, 0.5, 0.5)], Crop(0, 0, 500), 1000, 500)
    assert (smaller.left, smaller.side) == (0, 420)
    assert smaller.top + 0.35 * smaller.side == pytest.approx(200, abs=60)
    # too near for an upper body without the other
    assert alone(left, [(0.31, 0.3, 0.4, 0.5)], Crop(0, 0, 500), 600, 500) == Crop(0, 0, 500)


@pytest.fixture(scope="module")
def pair(studio, tmp_path_factory):
    """A folder with a source of two presenters side by side: the left one listens, the right one
    speaks."""
    path = tmp_path_factory.mktemp("pair") / "two/talk.mp4"
    path.parent.mkdir()
    listener, speaker = (studio / f"cnas/{name}_000.mp4" for name in ("wei/wei", "lin/lin"))
    # A listener's picture stands still but for the camera's noise.
    still = f"[0]trim=end_frame=1,{SQUARE},loop=-1:1,noise=alls=4:allf=t[l]"
    both = f"{still};[1]{SQUARE}[r];[l][r]hstack=shortest=1[v]"
    inputs = ["-i", file_url(listener), "-i", file_url(speaker)]
    run([*inputs, "-filter_complex", both, "-map", "[v]", "-map", "1:a", file_url(path)])
    return path.parent.parent


def test_two_people_are_followed(pair):
    people = follow_people(iter_frames(pair / "two/talk.mp4", end=1.0))
    assert len(people) == 2
    left, right = sorted(people, key=lambda each: each.box[0])
    assert left.box[2] < 0.5 < right.box[0]
    assert np.nanmean(np.abs(np.diff(right.opening))) > 3 * np.nanmean(
        np.abs(np.diff(left.opening))
    )


def test_clips_show_the_one_who_speaks(store, config, pair):
    # A drawn hand of this size is taken for a second face now and then.
    asked = {"clip_frames": 75, "speaking_person": True, "max_crowd_share": None}
    cnas = config.cnas.model_copy(update=asked)
    changed = config.model_copy(update={"cnas": cnas})
    result = ingest_cnas(store, changed, "cnas", pair, workers=0)
    rows = result.table.to_pylist()
    assert len(rows) >= 2
    assert not {row["reason"] for row in rows} - {""}
    for row in rows:
        left, _, side = json.loads(row["crop"])
        assert row["people"] == 2
        assert 160 <= left <= 512 - side  # of 512 pixels: the right half, without the left face
        with store.reading(row["path"]) as path:
            face = find_faces(next(iter_frames(path)))[0]
        assert 0.3 < (face[0] + face[2]) / 2 < 0.7
    again = ingest_cnas(store, changed, "cnas", pair, workers=0)
    assert again.computed == 0
    assert again.table.to_pylist() == rows
