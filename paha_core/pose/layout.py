"""The 133 points of COCO-WholeBody: which index is what.

Left and right are the person's own. A face's 68 points stand in iBUG order, which starts
at the person's right jaw (the left of an image that is not mirrored).
"""

from __future__ import annotations

POINTS = 133

BODY = slice(0, 17)  # nose, eyes, ears; shoulders, elbows, wrists, hips, knees, ankles: left first
FEET = slice(17, 23)
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)
HANDS = slice(91, 133)

UPPER_BODY = slice(0, 11)  # nose to wrists: what a half-body shot can show
MOUTH = slice(71, 91)  # iBUG 48-67

PARTS = {
    "body": BODY,
    "feet": FEET,
    "face": FACE,
    "left_hand": LEFT_HAND,
    "right_hand": RIGHT_HAND,
}

BODY_EDGES = (
    *((0, 1), (0, 2), (1, 3), (2, 4)),  # face
    *((5, 6), (5, 7), (7, 9), (6, 8), (8, 10)),  # shoulders and arms
    *((5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),  # trunk and legs
    *((15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)),  # feet
)


def _chain(first: int, last: int, closed: bool = False) -> tuple[tuple[int, int], ...]:
    edges = tuple((i, i + 1) for i in range(first, last))
    return (*edges, (last, first)) if closed else edges


FACE_EDGES = (
    *_chain(23, 39),  # jaw
    *_chain(40, 44),  # right brow
    *_chain(45, 49),  # left brow
    *_chain(50, 53),  # bridge of the nose
    *_chain(54, 58),  # its base
    *_chain(59, 64, closed=True),  # right eye
    *_chain(65, 70, closed=True),  # left eye
    *_chain(71, 82, closed=True),  # outer lips
    *_chain(83, 90, closed=True),  # inner lips
)


def _hand(wrist: int) -> tuple[tuple[int, int], ...]:
    fingers = ((wrist, wrist + 4 * k + 1) for k in range(5))
    bones = (edge for k in range(5) for edge in _chain(wrist + 4 * k + 1, wrist + 4 * k + 4))
    return (*fingers, *bones)


LEFT_HAND_EDGES = _hand(91)
RIGHT_HAND_EDGES = _hand(112)

EDGES = {
    "body": BODY_EDGES,
    "face": FACE_EDGES,
    "left_hand": LEFT_HAND_EDGES,
    "right_hand": RIGHT_HAND_EDGES,
}
