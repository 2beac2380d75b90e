"""The studio: a corpus of drawn presenters, made by code alone.

Presenters are drawn frame by frame and spoken by espeak-ng: four identities (ada, ben, lin, wei),
or any number of people, each drawn from a seed (p0000, p0001, ...). Lips follow the
phonemes, the hands' beats follow stress, so keypoints, lips and beats are known exactly. What comes
out looks like raw footage of two datasets and goes through the same ingestion:

    corpus = render_corpus(Path("data/studio"), programmes=8, seconds=60)
    corpus.intervals            # data/studio/pats/intervals.csv, beside pats/videos/*.mp4
    corpus.programmes[0].video  # path of an mp4
    presenter("ada").crop_left  # left edge of the square crop, as a fraction of the width

Truth files (`truth/<speaker>/<programme>.npz`, for tests and evaluation only) hold `fps`, `size`
(w, h), `crop` (x0, y0, side), `keypoints` float32 [T, 133, 2] in pixels of the whole frame in
COCO-WholeBody order, `visible` bool [T, 133], `mouth_openness`, `mouth_width`, `mouth_rounding`
float32 [T] in 0..1 (width 0.5 is the resting mouth), `beats` float32 [B] in seconds,
`phoneme_starts`, `phoneme_labels`, `phoneme_stressed` [P], `interval_starts`, `interval_ends`.
"""

from paha_core.corpora.studio.corpus import StudioCorpus, StudioProgramme, render_corpus
from paha_core.corpora.studio.identities import IDENTITIES, Identity
from paha_core.corpora.studio.people import is_presenter, presenter, presenters
from paha_core.corpora.studio.sheet import contact_sheet, people_sheet

__all__ = [
    "IDENTITIES",
    "Identity",
    "StudioCorpus",
    "StudioProgramme",
    "contact_sheet",
    "is_presenter",
    "people_sheet",
    "presenter",
    "presenters",
    "render_corpus",
]
