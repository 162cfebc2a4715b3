"""What the user can set in the effect, as typed values and as parameters of the segment editor node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medddpm.masks.lesions import LesionSpec

# Parameters of the segment editor node with their defaults. Lengths are mm, angles degrees.
DEFAULTS: dict[str, str] = {
    "Tool": "place",
    "Diameter": "25",
    "Irregularity": "0.6",
    "Elongation": "1.6",
    "Necrotic": "1",
    "Enhancing": "1",
    "Edema": "1",
    "RimWidth": "4",
    "EdemaWidth": "7",
    "Seed": "1",
    "Scale": "100",
    "ShiftR": "0",
    "ShiftA": "0",
    "ShiftS": "0",
    "RotateR": "0",
    "RotateA": "0",
    "RotateS": "0",
    "Grow": "0",
    "OnlyPicked": "0",
    "Picked": "none",  # an empty attribute would count as missing
}
# Those that "Reset" and a successful "Apply" put back.
MOTION_NAMES = ("Scale", "ShiftR", "ShiftA", "ShiftS", "RotateR", "RotateA", "RotateS", "Grow")
PLACE, MOVE = "place", "move"
MAX_SEED = 2**31 - 1

Read = Callable[[str], str]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class LesionOptions:
    """A lesion to be placed: lengths in mm, ``irregularity`` 0..1, ``elongation`` 1..4, ``parts`` by role name."""

    diameter: float = 25.0
    irregularity: float = 0.6
    elongation: float = 1.6
    parts: tuple[str, ...] = ("necrotic", "enhancing", "edema")
    rimWidth: float = 4.0
    edemaWidth: float = 7.0
    seed: int = 1

    def spec(self, center: Point, parts: tuple[str, ...] | None) -> LesionSpec:
        """The core's description of this lesion at ``center`` (RAS mm). Raises InputError for an impossible value."""
        return LesionSpec(
            center, self.diameter, self.irregularity, self.elongation, parts, self.rimWidth, self.edemaWidth
        )


@dataclass(frozen=True)
class Motion:
    """A change of the tumor: scaled and turned about its centroid, then shifted (mm to R, A, S), then grown (mm).

    ``degrees`` are right-handed angles about the R, A and S axes, in that order. Axes are those of the world.
    """

    scalePercent: float = 100.0
    shift: Point = (0.0, 0.0, 0.0)
    degrees: Point = (0.0, 0.0, 0.0)
    grow: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether there is a scale, a rotation or a shift."""
        return self.scalePercent != 100 or any(self.shift) or any(self.degrees)

    @property
    def changes(self) -> bool:
        """Whether anything is to be done at all."""
        return self.moves or self.grow != 0


def lesionOptions(read: Read) -> LesionOptions:
    """The options that ``read`` (parameter name -> text) gives; defaults where a text is empty or no number."""
    parts = tuple(name.lower() for name in ("Necrotic", "Enhancing", "Edema") if flag(read, name))
    names = ("Diameter", "Irregularity", "Elongation")
    diameter, irregularity, elongation = (number(read, name) for name in names)
    widths = number(read, "RimWidth"), number(read, "EdemaWidth")
    return LesionOptions(diameter, irregularity, elongation, parts, *widths, int(number(read, "Seed")))


def motion(read: Read) -> Motion:
    """The change that the sliders ask for; see ``lesionOptions``."""
    return Motion(number(read, "Scale"), _vector(read, "Shift"), _vector(read, "Rotate"), number(read, "Grow"))


def picked(read: Read) -> Point | None:
    """The point (RAS mm, world) at which a tumor was clicked last, where only that one is to be changed."""
    if not flag(read, "OnlyPicked"):
        return None
    return parsePoint(read("Picked"))


def flag(read: Read, name: str) -> bool:
    """A parameter that is on or off."""
    return (read(name) or DEFAULTS[name]) == "1"


def number(read: Read, name: str) -> float:
    """A parameter as a number; its default where the text is none, as in a scene that was edited by hand."""
    try:
        return float(read(name))
    except ValueError:
        return float(DEFAULTS[name])


def formatPoint(point: Point) -> str:
    """A point as a parameter."""
    return ",".join(f"{value:.3f}" for value in point)


def parsePoint(text: str) -> Point | None:
    """The inverse of ``formatPoint``; None where the text is no point."""
    try:
        r, a, s = (float(part) for part in text.split(","))
    except ValueError:
        return None
    return r, a, s


def _vector(read: Read, name: str) -> Point:
    r, a, s = (number(read, name + axis) for axis in "RAS")
    return r, a, s
