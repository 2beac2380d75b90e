"""Small footage for the tests of the data stages, drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def studio(tmp_path_factory) -> Path:
    """pats/videos/ada_000.mp4 (30 fps) … and cnas/lin/lin_000.mp4 (25 fps), of some 6 seconds."""
    from paha_core.corpora.studio import render_corpus

    out = tmp_path_factory.mktemp("studio")
    render_corpus(out, programmes=1, seconds=6, height=128, seed=0, workers=2)
    return out
