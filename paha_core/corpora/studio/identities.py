"""The four presenters as data: how each looks, sounds and stands in the frame.

Colours are RGB 0..255, lengths are shares of the crop's side, fractions are of the frame's width.
"""

from dataclasses import dataclass, field

from paha_core.corpora.studio.colours import Colour
from paha_core.corpora.studio.look import Look
from paha_core.corpora.studio.speech import Voice


@dataclass(frozen=True)
class Identity:
    """One presenter. `form` is the dataset whose footage it imitates: "pats" or "cnas"."""

    name: str
    form: str
    voice: Voice
    hair_style: str  # a key of hair.HAIR, or "bald"
    skin: Colour
    lips: Colour
    hair: Colour
    iris: Colour
    jacket: Colour
    shirt: Colour
    tie: Colour | None
    backdrop: tuple[Colour, Colour]  # top and bottom of the gradient
    panel: Colour  # the one plain shape on the backdrop
    panel_side: int  # -1: image left, 1: image right
    face_width: float = 1.0  # x the standard face
    jaw_width: float = 1.0
    shoulder_width: float = 1.0
    hand_length: float = 0.225  # wrist to middle fingertip
    off_hand: float = 0.75  # stroke of the person's left hand, relative to the right
    crop_left: float = 7 / 32  # left edge of the square crop; CNAS anchors sit in the middle
    look: Look = field(default_factory=Look)


IDENTITIES: dict[str, Identity] = {
    identity.name: identity
    for identity in (
        Identity(
            name="ada",
            form="pats",
            voice=Voice("en-us+f3", rate=165, pitch=58),
            hair_style="bob",
            skin=(240, 198, 168),
            lips=(196, 48, 66),
            hair=(122, 58, 30),
            iris=(62, 96, 60),
            jacket=(38, 58, 104),
            shirt=(246, 238, 222),
            tie=None,
            backdrop=((206, 228, 226), (158, 196, 196)),
            panel=(180, 212, 211),
            panel_side=-1,
            face_width=0.97,
            jaw_width=0.92,
            shoulder_width=0.94,
            hand_length=0.215,
            crop_left=0.30,
        ),
        Identity(
            name="ben",
            form="pats",
            voice=Voice("en-us+m3", rate=155, pitch=42),
            hair_style="short",
            skin=(198, 144, 106),
            lips=(172, 28, 46),
            hair=(34, 26, 24),
            iris=(58, 36, 22),
            jacket=(226, 228, 232),
            shirt=(92, 132, 176),
            tie=None,
            backdrop=((244, 226, 190), (222, 190, 144)),
            panel=(234, 208, 166),
            panel_side=1,
            face_width=1.03,
            jaw_width=1.06,
            shoulder_width=1.04,
            hand_length=0.232,
            off_hand=0.85,
            crop_left=0.08,
            look=Look(collar=True),
        ),
        Identity(
            name="lin",
            form="cnas",
            voice=Voice("cmn+f2", rate=175, pitch=60),
            hair_style="long",
            skin=(248, 212, 184),
            lips=(206, 40, 58),
            hair=(30, 24, 30),
            iris=(60, 38, 26),
            jacket=(24, 104, 92),
            shirt=(250, 250, 250),
            tie=None,
            backdrop=((214, 212, 236), (172, 170, 208)),
            panel=(194, 192, 222),
            panel_side=1,
            face_width=0.98,
            jaw_width=0.9,
            shoulder_width=0.93,
            hand_length=0.215,
            off_hand=0.9,
        ),
        Identity(
            name="wei",
            form="cnas",
            voice=Voice("cmn", rate=170, pitch=40),
            hair_style="part",
            skin=(230, 182, 144),
            lips=(178, 58, 60),
            hair=(44, 34, 32),
            iris=(52, 34, 24),
            jacket=(70, 72, 84),
            shirt=(240, 242, 246),
            tie=(158, 34, 44),
            backdrop=((120, 158, 204), (76, 112, 164)),
            panel=(98, 136, 184),
            panel_side=-1,
            face_width=1.02,
            jaw_width=1.02,
            shoulder_width=1.02,
            hand_length=0.228,
            off_hand=0.7,
        ),
    )
}
