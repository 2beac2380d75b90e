"""Pictures of the corpus for the README: identities by moments, and many people at once."""

from pathlib import Path

import numpy as np

from paha_core.corpora.studio.identities import IDENTITIES
from paha_core.corpora.studio.people import presenter, presenters
from paha_core.corpora.studio.speech import Phoneme
from paha_core.media import FPS


def contact_sheet(path: Path, *, side: int = 152, columns: int = 6, seed: int = 0) -> Path:
    """Write a PNG grid, a row for each identity: the square crop at telling moments.

    The first column is the mouth at rest, the others are spread from the least to the most open
    mouth of the identity's first programme. `side` is a crop's size in pixels.
    """
    import cv2

    from paha_core.corpora.studio.drawing import Painter
    from paha_core.corpora.studio.figure import pose_figure
    from paha_core.corpora.studio.programme import prepare

    rows = []
    for name, identity in IDENTITIES.items():
        programme = prepare(name, 0, seconds=8.0, height=512, seed=seed)
        order = np.argsort(programme.motion.mouth[:, 0], kind="stable")
        order = order[programme.motion.blink[order] < 0.2]
        # a pause is the first of the closed frames; then even steps through the open ones
        chosen = order[np.linspace(0, len(order) - 1, columns).round().astype(int)]
        painter = Painter(identity, 512, 512, 0)
        crops = [painter.paint(pose_figure(identity, programme.motion, int(i))) for i in chosen]
        rows.append(
            np.hstack([cv2.resize(c, (side, side), interpolation=cv2.INTER_AREA) for c in crops])
        )
    return _write(path, rows)


def people_sheet(
    path: Path, people: int = 48, first: int = 0, *, side: int = 152, columns: int = 8
) -> Path:
    """Write a PNG grid of people from seed `first` on, each with another shape of the mouth.

    `side` is a tile's size in pixels; `people` is a multiple of `columns`, or the last row is
    filled up with black.
    """
    import cv2

    from paha_core.corpora.studio.drawing import Painter
    from paha_core.corpora.studio.figure import pose_figure
    from paha_core.corpora.studio.motion import make_motion

    # one spoken "mah, ee, oo" for all: what counts here is who says it
    labels = ("_", "m", "A:", "i:", "u:", "_")
    spoken = [Phoneme(label, 0.4 * i, label == "A:") for i, label in enumerate(labels)]
    tiles = []
    for i, name in enumerate(presenters(people, first)):
        identity = presenter(name)
        motion = make_motion(identity, spoken, 60, FPS, [i])
        motion.blink[:] = 0
        moment = round((0.4 * (i % 4) + 0.6) * FPS)
        tile = Painter(identity, 512, 512, 0).paint(pose_figure(identity, motion, moment))
        tiles.append(cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return _write(path, rows)


def _write(path: Path, rows: list[np.ndarray]) -> Path:
    import cv2

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return path
