"""A picture of the corpus: identities by moments, for the README."""

from pathlib import Path

import numpy as np

from paha_core.corpora.studio.identities import IDENTITIES


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
    sheet = np.vstack(rows)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return path
