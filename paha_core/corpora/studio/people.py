"""People drawn from a seed: `person(7)` is the same presenter everywhere, none of the four.

A number decides features, hair, clothes, room, framing, gestures, language and voice. Any seed
gives a person; the corpus has the preset's `people` of them, from `people_seed` on.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import count, islice

import numpy as np

from paha_core.corpora.studio.colours import Colour, distance, lit, mix, random_colour, tint
from paha_core.corpora.studio.identities import IDENTITIES, Identity
from paha_core.corpora.studio.look import Look
from paha_core.corpora.studio.speech import Voice

# Seeds below 260 (as far as benchmarks/studies/people.py has looked) of whom MediaPipe misses face,
# body or a hand in more than 2 % of the frames: nobody draws them.
EXCLUDED = frozenset({13, 22, 23, 42, 54, 77, 85, 121, 127, 152, 163, 183, 200, 211, 221, 257})

_SKINS: tuple[Colour, ...] = (
    (252, 224, 204), (246, 208, 182), (240, 196, 164), (228, 178, 140), (214, 160, 120),
    (196, 140, 100), (172, 116, 80), (148, 96, 66), (122, 78, 54), (100, 64, 46),
)  # fmt: skip
_HAIR: tuple[tuple[Colour, float], ...] = (
    ((28, 22, 24), 3.0), ((52, 34, 26), 3.0), ((86, 54, 34), 2.0), ((122, 76, 44), 1.5),
    ((150, 66, 34), 1.2), ((188, 98, 48), 0.9), ((206, 166, 98), 1.6), ((230, 204, 146), 1.0),
    ((128, 126, 128), 1.0), ((196, 196, 200), 0.8), ((236, 236, 236), 0.5), ((44, 52, 92), 0.3),
    ((146, 50, 92), 0.3),
)  # fmt: skip
_IRISES: tuple[Colour, ...] = (
    (52, 34, 24), (84, 54, 32), (118, 84, 46), (70, 100, 66), (84, 124, 132), (66, 104, 156),
    (110, 120, 128),
)  # fmt: skip
_LIPSTICKS: tuple[Colour, ...] = (
    (200, 40, 58), (176, 34, 62), (206, 76, 84), (190, 60, 96), (150, 34, 60), (216, 84, 70),
)  # fmt: skip
_HIS_HAIR = {
    "short": 3, "part": 3, "buzz": 2, "receding": 1.5, "quiff": 3, "bald": 1.5, "curls": 1,
    "afro": 1, "long": 0.7, "bun": 0.5,
}  # fmt: skip
_HER_HAIR = {
    "bob": 2, "long": 2, "fringe": 2, "waves": 2.5, "pixie": 1.5, "curls": 1.5, "afro": 1.2,
    "bun": 1.8, "ponytail": 1.8, "braids": 1.5, "headscarf": 1.2, "part": 0.5,
}  # fmt: skip
_GARMENTS = {
    "jacket": 4, "cardigan": 1.5, "shirt": 2, "sweater": 2, "turtleneck": 1.3, "vneck": 1.5,
    "hoodie": 1,
}  # fmt: skip
_ROOMS = {
    "panel": 1.5, "plain": 1.5, "window": 2, "shelves": 2, "stripes": 1.5, "discs": 1.5,
    "city": 2, "plant": 2,
}  # fmt: skip
_HIS_VOICES = (
    "", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+Andy", "+Alex", "+Michael", "+adam",
    "+john", "+ian", "+Diogo",
)  # fmt: skip
_HER_VOICES = (
    "+f1", "+f2", "+f3", "+f4", "+f5", "+Annie", "+Alicia", "+Andrea", "+linda", "+steph",
    "+belinda",
)  # fmt: skip


def presenters(people: int = 0, first: int = 0) -> list[str]:
    """The presenters: the four identities, or `people` people from seed `first` on instead, without
    those who are excluded."""
    if not people:
        return list(IDENTITIES)
    return list(islice((_name(n) for n in count(first) if n not in EXCLUDED), people))


def presenter(name: str) -> Identity:
    """The identity of that name. Raises `KeyError` where the studio has none."""
    return IDENTITIES[name] if name in IDENTITIES else person(person_seed(name))


def person_seed(name: str) -> int:
    """The seed of the person of that name ("p0042": 42). Raises `KeyError` for other names."""
    if name[:1] == "p" and name[1:].isdigit() and name == _name(int(name[1:])):
        return int(name[1:])
    raise KeyError(f"the studio has no presenter {name!r}")


def is_presenter(name: str) -> bool:
    """Whether the studio draws a presenter of that name."""
    return name in IDENTITIES or is_person(name)


def is_person(name: str) -> bool:
    """Whether `name` is that of a person drawn from a seed."""
    try:
        person_seed(name)
    except KeyError:
        return False
    return True


def _name(seed: int) -> str:
    return f"p{seed:04d}"


@lru_cache(maxsize=4096)
def person(seed: int) -> Identity:
    """The person of that seed."""
    random = np.random.default_rng([7, seed])
    her = bool(random.random() < 0.5)
    light = _light(random)
    skin = _skin(random)
    hair_style = _choose(random, _HER_HAIR if her else _HIS_HAIR)
    hair = _hair(random, hair_style, skin)
    backdrop = _backdrop(random, hair)
    jacket = _cloth(random, [(skin, 95.0), (backdrop[1], 60.0), (hair, 40.0)])
    shirt = _cloth(random, [(skin, 70.0), (jacket, 80.0)], pale=True)
    garment = _choose(random, _GARMENTS | ({"blouse": 2} if her else {}))
    tied = garment == "jacket" and random.random() < (0.1 if her else 0.6)
    face_width = float(random.uniform(0.90, 1.09))
    panel = tint(backdrop[0], float(random.uniform(0.80, 0.93)))
    english = bool(random.random() < 0.5)
    return Identity(
        name=_name(seed),
        form="pats" if english else "cnas",
        voice=_voice(random, her, english),
        hair_style=hair_style,
        skin=lit(skin, light),
        lips=lit(_lips(random, skin, her), light),
        hair=lit(hair, light),
        iris=_IRISES[random.integers(len(_IRISES))],
        jacket=lit(jacket, light),
        shirt=lit(shirt, light),
        tie=lit(_cloth(random, [(shirt, 110.0), (jacket, 60.0)]), light) if tied else None,
        backdrop=(lit(backdrop[0], light), lit(backdrop[1], light)),
        panel=lit(panel, light),
        panel_side=int(random.choice([-1, 1])),
        face_width=face_width,
        jaw_width=float(random.uniform(0.88, 0.97) if her else random.uniform(0.95, 1.08))
        * (0.5 + 0.5 * face_width),
        shoulder_width=float(random.uniform(0.86, 0.98) if her else random.uniform(0.96, 1.09)),
        hand_length=float(random.uniform(0.212, 0.225) if her else random.uniform(0.220, 0.238)),
        off_hand=float(random.uniform(0.6, 1.0)),
        crop_left=round(float(random.uniform(0.05, 0.38)), 3) if english else 7 / 32,
        look=_look(random, her, garment, hair_style, hair, skin, jacket, shirt, face_width, light),
    )


def _look(
    random: np.random.Generator,
    her: bool,
    garment: str,
    hair_style: str,
    hair: Colour,
    skin: Colour,
    jacket: Colour,
    shirt: Colour,
    face_width: float,
    light: Colour,
) -> Look:
    def between(low: float, high: float) -> float:
        return float(random.uniform(low, high))

    covered = hair_style == "headscarf"
    open_neck = garment not in ("turtleneck", "hoodie") and not covered
    scarf = open_neck and random.random() < 0.12
    layered = garment in ("jacket", "cardigan")
    pattern = (
        "" if layered or garment == "shirt" else _choose(random, {"": 2, "stripes": 1, "dots": 0.7})
    )
    beards = {"": 3, "full": 1.2, "short": 1.2, "stubble": 1, "goatee": 0.7, "moustache": 0.7}
    dark_hair = mix(hair, (60, 46, 40), 0.7) if covered else hair
    glasses = {"": 3, "round": 0.6, "square": 0.7, "thin": 0.6, "bold": 0.5}
    rims: Sequence[Colour] = (
        (28, 26, 28),
        (92, 52, 30),
        (150, 36, 44),
        (40, 60, 110),
        (150, 130, 90),
    )
    brow = mix(tint(dark_hair, 0.75), (40, 28, 24), 0.45)
    return Look(
        chin=between(-0.012, 0.012),
        jaw_corner=between(0.82, 1.0) if her else between(0.92, 1.20),
        crown=between(0.0, 0.012) if hair_style != "bald" else between(0.006, 0.024),
        eye_apart=between(-0.006, 0.006),
        eye_width=between(0.90, 1.15) * (1.04 if her else 0.97),
        eye_height=between(0.82, 1.15) * (1.05 if her else 0.95),
        eye_tilt=between(-0.003, 0.007),
        brow_thickness=between(0.6, 1.0) if her else between(0.85, 1.4),
        brow_rise=between(-0.002, 0.010),
        brow_arch=between(0.4, 1.5),
        brow_colour=lit(brow, light),
        nose_width=between(0.75, 1.05) if her else between(0.85, 1.25),
        nose_length=between(-0.012, 0.010),
        mouth_drop=between(-0.003, 0.008),
        mouth_width=between(0.84, 1.10),
        lip_fullness=between(0.85, 1.35) if her else between(0.75, 1.15),
        lashes=her and random.random() < 0.7,
        blush=between(0.3, 1.3) if her else between(0.0, 0.8),
        freckles=bool(random.random() < 0.12) and sum(skin) > 480,
        shade_side=int(random.choice([-1, 0, 1])),
        beard="" if her else _choose(random, beards),
        glasses=_choose(random, glasses),
        glasses_colour=rims[random.integers(len(rims))],
        earrings=_choose_colour(random, 0.45 if her else 0.04),
        hair_width=face_width * between(1.0, 1.05),
        hair_gloss=between(1.0, 1.4),
        garment=garment,
        cuff=None if layered else tint(lit(jacket, light), 0.80),
        pattern=pattern,
        pattern_colour=lit(shirt, light),
        collar=garment in ("jacket", "shirt") and not covered and random.random() < 0.6,
        bow=bool(random.random() < 0.2),
        scarf=lit(_cloth(random, [(skin, 80.0), (jacket, 70.0)]), light) if scarf else None,
        necklace=_choose_colour(random, 0.3 if her and open_neck and not scarf else 0.0),
        room=_choose(random, _ROOMS),
        accent=lit(_cloth(random, [(skin, 60.0)], pale=bool(random.random() < 0.5)), light),
        zoom=between(0.90, 1.0),
        shift=between(-0.02, 0.02),
        palm=lit(mix(skin, (240, 190, 158), 0.12 + 0.50 * (1 - sum(skin) / 765)), light),
        reach=between(0.75, 1.1),
        hands_apart=between(-0.015, 0.02),
        hands_rise=between(-0.01, 0.025),
    )


# choices -----------------------------------------------------------------------------------------


def _choose(random: np.random.Generator, weights: dict[str, float]) -> str:
    share = np.array(list(weights.values()), dtype=float)
    return list(weights)[random.choice(len(share), p=share / share.sum())]


def _choose_colour(random: np.random.Generator, share: float) -> Colour | None:
    metals: tuple[Colour, ...] = ((236, 200, 96), (226, 228, 232), (240, 240, 232), (200, 60, 70))
    drawn, chosen = random.random(), metals[random.integers(len(metals))]
    return chosen if drawn < share else None


def _skin(random: np.random.Generator) -> Colour:
    at = random.uniform(0, len(_SKINS) - 1)
    low = int(at)
    return mix(_SKINS[low], _SKINS[min(low + 1, len(_SKINS) - 1)], at - low)


def _hair(random: np.random.Generator, style: str, skin: Colour) -> Colour:
    if style == "headscarf":
        return _cloth(random, [(skin, 70.0)])
    weights = np.array([weight for _, weight in _HAIR])
    chosen = _HAIR[random.choice(len(_HAIR), p=weights / weights.sum())][0]
    chosen = mix(chosen, _HAIR[random.integers(6)][0], float(random.uniform(0, 0.25)))
    # hair of the skin's own colour would leave no edge
    return chosen if distance(chosen, skin) > 60 else tint(chosen, 0.55)


def _lips(random: np.random.Generator, skin: Colour, her: bool) -> Colour:
    if her and random.random() < 0.65:
        chosen = mix(_LIPSTICKS[random.integers(len(_LIPSTICKS))], skin, 0.08)
    else:
        chosen = mix(mix(skin, (176, 44, 60), float(random.uniform(0.5, 0.7))), skin, 0.05)
    return chosen if distance(chosen, skin) > 70 else mix(chosen, (196, 30, 56), 0.6)


def _cloth(
    random: np.random.Generator, away: Sequence[tuple[Colour, float]], pale: bool = False
) -> Colour:
    """A colour at least so far from each of `away`, or the farthest of forty tries."""
    tries = [random_colour(random, (0.0, 0.35), (0.85, 1.0)) if pale else
             random_colour(random, (0.12, 0.74), (0.20, 0.88)) for _ in range(40)]  # fmt: skip
    slack = [min(distance(c, other) - least for other, least in away) for c in tries]
    return next(
        (c for c, s in zip(tries, slack, strict=True) if s > 0), tries[int(np.argmax(slack))]
    )


def _backdrop(random: np.random.Generator, hair: Colour) -> tuple[Colour, Colour]:
    dark = random.random() < 0.25
    value = (0.28, 0.50) if dark else (0.62, 0.98)
    tries = [random_colour(random, (0.05, 0.38), value) for _ in range(20)]
    top = max(tries[: 1 + int(random.integers(6))], key=lambda c: min(distance(c, hair), 120.0))
    return top, tint(top, float(random.uniform(0.68, 0.92)))


def _light(random: np.random.Generator) -> Colour:
    """The colour of the light: warm, cool or neutral, a little brighter or darker."""
    warm = random.uniform(-1, 1)
    level = random.uniform(0.92, 1.0)
    r, g, b = 255 - 12 * max(-warm, 0), 255 - 5 * abs(warm), 255 - 26 * max(warm, 0)
    return round(r * level), round(g * level), round(b * level)


def _voice(random: np.random.Generator, her: bool, english: bool) -> Voice:
    variants = _HER_VOICES if her else _HIS_VOICES
    variant = variants[random.integers(len(variants))]
    return Voice(
        ("en-us" if english else "cmn") + variant,
        rate=int(random.integers(145, 186)),
        pitch=int(random.integers(44, 76) if her else random.integers(24, 52)),
        pitch_range=int(random.integers(40, 76)),
    )
