"""What the user can set in the effect: typed values, parameters of the segment editor node, widgets, from one field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from medddpm.options import Option, option, options_of

PLACE, MOVE = "place", "move"
MAX_SEED = 2**31 - 1
PART = "Whether a new lesion has this part."
PART_NAMES = ("necrotic", "enhancing", "edema")

Read = Callable[[str], str]
T = TypeVar("T", "LesionOptions", "Motion")
Point = tuple[float, float, float]


@dataclass(frozen=True)
class LesionOptions:
    """A lesion to be placed: lengths in mm, ``irregularity`` 0..1, ``elongation`` 1..4, and which parts it has."""

    diameter: float = option(25.0, "Diameter of the solid part (core).", low=2, high=80, unit="mm")
    irregularity: float = option(0.6, "0 is a smooth ellipsoid, 1 a ragged lesion.", low=0, high=1)
    elongation: float = option(1.6, "Longest axis divided by the shortest.", low=1, high=4)
    necrotic: bool = option(True, PART, label="Necrosis")
    enhancing: bool = option(True, PART, label="Enhancing rim")
    edema: bool = option(True, PART, label="Edema")
    rimWidth: float = option(4.0, "Mean width of the enhancing rim.", label="rim", low=0.5, high=15, unit="mm")
    edemaWidth: float = option(7.0, "Mean width of the edema.", label="edema", low=1, high=30, unit="mm")
    seed: int = option(1, "The same seed gives the same shape again.", label="Shape", low=0, high=MAX_SEED)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts by role name."""
        return tuple(name for name in PART_NAMES if getattr(self, name))


def _shift(label: str, side: str) -> float:
    return option(0.0, f"Millimeters toward the {side} of the patient.", label=label, low=-150, high=150, unit="mm")


def _turn(label: str, plane: str) -> float:
    return option(
        0.0, f"Degrees about the {label} axis, in the {plane} plane.", label=label, low=-180, high=180, unit="°"
    )


@dataclass(frozen=True)
class Motion:
    """A change of the tumor: scaled and turned about its centroid, then shifted (mm to R, A, S), then grown (mm).

    Angles are right-handed, in degrees about the R, A and S axes, in that order. Axes are those of the world.
    """

    scale: float = option(100.0, "100 % leaves the size as it is.", label="Size", low=25, high=300, unit="%")
    shiftR: float = _shift("R", "right")
    shiftA: float = _shift("A", "front (anterior)")
    shiftS: float = _shift("S", "top (superior)")
    rotateR: float = _turn("R", "sagittal")
    rotateA: float = _turn("A", "coronal")
    rotateS: float = _turn("S", "axial")
    grow: float = option(0.0, "Moves all surfaces outward; negative inward.", low=-20, high=20, unit="mm")

    @property
    def shift(self) -> Point:
        """How far to the right, front and top (mm)."""
        return self.shiftR, self.shiftA, self.shiftS

    @property
    def degrees(self) -> Point:
        """The angles about R, A and S."""
        return self.rotateR, self.rotateA, self.rotateS

    @property
    def moves(self) -> bool:
        """Whether there is a scale, a rotation or a shift."""
        return self.scale != 100 or any(self.shift) or any(self.degrees)

    @property
    def changes(self) -> bool:
        """Whether anything is to be done at all."""
        return self.moves or self.grow != 0


@dataclass(frozen=True)
class Extent:
    """Which tumor is changed."""

    onlyPicked: bool = option(
        False,
        "Off: all tumor is changed. On: only the connected lesion at which you clicked last in a slice view.",
        label="Only the lesion that was clicked last",
    )


def parameterOf(name: str) -> str:
    """The parameter of the segment editor node for a field: "rimWidth" is "RimWidth"."""
    return name[0].upper() + name[1:]


def textOf(value: float | bool) -> str:
    """A value as a parameter."""
    return str(int(value)) if isinstance(value, bool) else f"{value:.10g}"


OPTIONS: dict[str, Option] = {
    parameterOf(told.name): told for kind in (LesionOptions, Motion, Extent) for told in options_of(kind)
}
# Parameters of the segment editor node with their defaults; an empty attribute would count as missing.
DEFAULTS = {"Tool": PLACE, "Picked": "none"} | {name: textOf(told.default) for name, told in OPTIONS.items()}
# Those that "Reset" and a successful "Apply" put back.
MOTION_NAMES = tuple(parameterOf(told.name) for told in options_of(Motion))


def chosen(kind: type[T], read: Read) -> T:
    """LesionOptions or Motion as ``read`` (parameter name -> text) gives it; defaults where a text is no such value."""
    return kind(**{told.name: valueOf(read, parameterOf(told.name)) for told in options_of(kind)})


def picked(read: Read) -> Point | None:
    """The point (RAS mm, world) at which a tumor was clicked last, where only that one is to be changed."""
    return parsePoint(read("Picked")) if valueOf(read, "OnlyPicked") else None


def valueOf(read: Read, name: str) -> Any:
    """A parameter as its type; its default where the text is none, as in a scene that was edited by hand."""
    told = OPTIONS[name]
    if told.kind is bool:
        return (read(name) or DEFAULTS[name]) == "1"
    try:
        return told.kind(float(read(name)))
    except ValueError:
        return told.default


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
