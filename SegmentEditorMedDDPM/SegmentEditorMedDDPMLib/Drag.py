"""A tumor that is being dragged in a slice view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .Ghost import Ghost
from .Options import Motion, Point

# A press that moved less than this (pixels) was a click.
CLICK_PIXELS = 4


@dataclass
class Drag:
    """A drag that began at ``start`` (RAS mm, world) and ``startPixel`` in ``view``; ``ghost`` follows the mouse.

    ``here`` and ``pixel`` say where the mouse is now.
    """

    view: Any
    ghost: Ghost
    start: Point
    startPixel: tuple[int, int]
    pixel: tuple[int, int] = field(init=False)
    here: Point = field(init=False)

    def __post_init__(self) -> None:
        self.here, self.pixel = self.start, self.startPixel

    def moveTo(self, here: Point, pixel: tuple[int, int]) -> None:
        """The mouse is at ``here`` (RAS mm, world) now."""
        self.here, self.pixel = here, pixel

    @property
    def isClick(self) -> bool:
        """Whether the mouse has hardly moved since."""
        dx, dy = (a - b for a, b in zip(self.pixel, self.startPixel, strict=True))
        return dx * dx + dy * dy < CLICK_PIXELS**2

    @property
    def motion(self) -> Motion:
        """The shift from the start to here."""
        r, a, s = (b - a for a, b in zip(self.start, self.here, strict=True))
        return Motion(shift=(r, a, s))
