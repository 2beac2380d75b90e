"""Colours, RGB 0..255, and how they are mixed."""

import colorsys

import numpy as np

Colour = tuple[int, int, int]


def tint(colour: Colour, factor: float) -> Colour:
    """The colour, darker (factor below 1) or brighter."""
    r, g, b = (min(255, round(c * factor)) for c in colour)
    return r, g, b


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Colour a with a share 0..1 of colour b."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def lit(colour: Colour, light: Colour) -> Colour:
    """The colour under a light of that colour; white leaves it as it is."""
    r, g, b = (round(c * shine / 255) for c, shine in zip(colour, light, strict=True))
    return r, g, b


def distance(a: Colour, b: Colour) -> float:
    """Euclidean distance."""
    return float(np.linalg.norm(np.subtract(a, b, dtype=float)))


def random_colour(
    random: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> Colour:
    """Any hue, with saturation and value (0..1) from those ranges."""
    r, g, b = colorsys.hsv_to_rgb(
        random.random(), random.uniform(*saturation), random.uniform(*value)
    )
    return round(255 * r), round(255 * g), round(255 * b)
