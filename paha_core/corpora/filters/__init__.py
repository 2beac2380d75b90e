"""What a clip must be to be kept: each filter gives a score, and a reason when the score won't do.

A filter is a small frozen dataclass (its fields are its settings and part of a clip's fingerprint)
with a `name` and `check(look) -> score`, which raises `Failed`.
"""

from paha_core.corpora.filters.body import HandsStay, WholeBody
from paha_core.corpora.filters.detectors import find_faces
from paha_core.corpora.filters.look import PROBES, Failed, Filter, Look, apply
from paha_core.corpora.filters.parts import BodyParts
from paha_core.corpora.filters.picture import OnePerson, OneScene, Unfrozen, WholeFace
from paha_core.corpora.filters.sound import Audible, CleanSpeech, SpeechShare, Unclipped
from paha_core.corpora.filters.steady import Steady

__all__ = [
    "PROBES",
    "Audible",
    "BodyParts",
    "CleanSpeech",
    "Failed",
    "Filter",
    "HandsStay",
    "Look",
    "OnePerson",
    "OneScene",
    "SpeechShare",
    "Steady",
    "Unclipped",
    "Unfrozen",
    "WholeBody",
    "WholeFace",
    "apply",
    "find_faces",
]
