"""A clip's fingerprint is the hash of the canonical json, however it is put together."""

import pytest

from paha_core.corpora.filters import Audible, SyncCheck, WholeFace
from paha_core.corpora.fingerprints import clip_fingerprint, common_json
from paha_core.corpora.regions import Crop
from paha_core.store import sha256_json


@pytest.mark.parametrize("start", [0.0, 1.9, 1e-7, 3600.04])
@pytest.mark.parametrize("follow_face", [False, True])
def test_a_fingerprint_is_that_of_the_whole_json(start, follow_face):
    settings = {
        "span": [start, 125, {"top": 3, "left": 40, "side": 720}],
        "clip": [512, 18],
        "filters": {"mean_db": {"min_db": -45.0}, "face_share": {"min_share": 0.9}},
        "correct": 5,
    }
    settings |= {"follow_face": True, "speaking": "speaking-1"} if follow_face else {}
    speaking = settings.get("speaking")
    filters = (Audible(-45.0), WholeFace(0.9))
    common = common_json("clips-6", 512, 18, filters, SyncCheck(5), follow_face, speaking)
    made = clip_fingerprint("@span", start, 125, Crop(40, 3, 720), common)
    assert made == sha256_json(["@span", settings, "clips-6"])
