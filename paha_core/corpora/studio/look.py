"""How a drawn person differs from the standard figure.

The four identities are the standard figure: every default here leaves it as it is.
"""

from dataclasses import dataclass

from paha_core.corpora.studio.colours import Colour


@dataclass(frozen=True)
class Look:
    """Features, clothes, room, framing and gestures. Lengths are shares of the crop's side,
    colours RGB 0..255; factors multiply the standard figure's lengths, shifts are added to them."""

    # face
    chin: float = 0.0  # shift, downwards
    jaw_corner: float = 1.0  # factor: below 1 a pointed chin, above 1 a square one
    crown: float = 0.0  # shift of the top of the skull, upwards
    eye_apart: float = 0.0  # shift of each eye, outwards
    eye_width: float = 1.0
    eye_height: float = 1.0
    eye_tilt: float = 0.0  # rise of the outer corner
    brow_thickness: float = 1.0
    brow_rise: float = 0.0
    brow_arch: float = 1.0
    brow_colour: Colour | None = None
    nose_width: float = 1.0
    nose_length: float = 0.0
    mouth_drop: float = 0.0
    mouth_width: float = 1.0
    lip_fullness: float = 1.0
    lashes: bool = False
    blush: float = 1.0
    freckles: bool = False
    shade_side: int = 0  # -1, 1: the side of the face that lies in shade; 0: even light
    beard: str = ""  # a key of face.BEARDS
    glasses: str = ""  # a key of face.GLASSES
    glasses_colour: Colour = (30, 28, 30)
    earrings: Colour | None = None

    # hair
    hair_width: float = 1.0
    hair_gloss: float = 1.35  # brightness of the highlight, relative to the hair

    # clothes
    garment: str = "jacket"  # a key of clothes.GARMENTS
    cuff: Colour | None = None  # None: the shirt's colour
    pattern: str = ""  # "", "stripes", "dots"
    pattern_colour: Colour = (255, 255, 255)
    collar: bool = False  # of the shirt, over the jacket; a tie always has one
    bow: bool = False  # the tie is a bow
    scarf: Colour | None = None
    necklace: Colour | None = None

    # room and camera
    room: str = "panel"  # a key of room.ROOMS
    accent: Colour = (255, 255, 255)  # second colour of the room's furniture
    zoom: float = 1.0  # about the middle of the lower edge
    shift: float = 0.0  # of the whole figure, to the image's right

    # hands
    palm: Colour | None = None  # None: the skin's colour

    # gestures
    reach: float = 1.0  # length of a stroke of the hands
    hands_apart: float = 0.0  # shift of each hand, outwards
    hands_rise: float = 0.0
