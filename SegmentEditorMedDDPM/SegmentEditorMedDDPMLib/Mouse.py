"""What the mouse does in slice views: place a lesion by a click, drag a tumor, show where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import vtk

from .Ghost import Ghost, SliceOverlays, circle, pixelSize, pixelToWorld, pointAt, sizeOf
from .Options import PLACE, Motion, Point

EVENTS = vtk.vtkCommand
# A press that moved less than this (pixels) was a click.
CLICK_PIXELS = 4
# A step of the wheel makes the next lesion so much larger or smaller.
WHEEL_FACTOR = 1.1


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

    @property
    def isClick(self) -> bool:
        """Whether the mouse has hardly moved since."""
        dx, dy = (a - b for a, b in zip(self.pixel, self.startPixel, strict=True))
        return dx * dx + dy * dy < CLICK_PIXELS**2

    @property
    def motion(self) -> Motion:
        """The shift from the start to here."""
        return Motion(100.0, *(b - a for a, b in zip(self.start, self.here, strict=True)))


class Mouse:
    """Turns events of slice views into calls of its ``host``, a ``SegmentEditorEffect``; draws with ``overlays``.

    View widgets need ``mrmlSliceNode()``, interactors are VTK's. Nothing else of the application is used.
    """

    def __init__(self, host: Any, overlays: SliceOverlays) -> None:
        self._host, self._overlays = host, overlays
        self._drag: Drag | None = None
        self._pressed = False
        self._handlers: dict[int, Callable[[Any, Any], bool]] = {
            EVENTS.LeftButtonPressEvent: self._press,
            EVENTS.LeftButtonDoubleClickEvent: lambda *_: True,  # would enlarge the view after two quick clicks
            EVENTS.MouseMoveEvent: self._move,
            EVENTS.LeftButtonReleaseEvent: self._release,
            EVENTS.LeaveEvent: self._leave,
            EVENTS.KeyPressEvent: self._key,
            EVENTS.MouseWheelForwardEvent: lambda interactor, view: self._wheel(interactor, view, WHEEL_FACTOR),
            EVENTS.MouseWheelBackwardEvent: lambda interactor, view: self._wheel(interactor, view, 1 / WHEEL_FACTOR),
        }

    @property
    def dragging(self) -> bool:
        """Whether a tumor is being dragged."""
        return self._drag is not None

    def handle(self, interactor: Any, event: int, viewWidget: Any) -> bool:
        """Deal with an event; returns whether nobody else is to see it."""
        handler = self._handlers.get(event)
        return handler(interactor, viewWidget) if handler is not None else False

    def cancel(self) -> None:
        """End a drag without a change."""
        if self._drag is not None:
            self._drag = None
            self._overlays.hideAll()
            self._host.showChange()

    def _press(self, interactor: Any, viewWidget: Any) -> bool:
        if _hasModifier(interactor):
            return False
        self._pressed = True
        pixel = interactor.GetEventPosition()
        point = pointAt(viewWidget.mrmlSliceNode(), pixel)
        if self._host.tool == PLACE:
            self._overlays.hide(viewWidget)
            self._host.place(point)
            return True
        ghost = self._host.ghostToDrag(point)
        if ghost is not None:
            self._drag = Drag(viewWidget, ghost, point, pixel)
        return True

    def _move(self, interactor: Any, viewWidget: Any) -> bool:
        sliceNode = viewWidget.mrmlSliceNode()
        pixel = interactor.GetEventPosition()
        if self._drag is not None:
            # Slicer tells of some moves twice.
            if viewWidget is self._drag.view and pixel != self._drag.pixel:
                self._drag.here, self._drag.pixel = pointAt(sliceNode, pixel), pixel
                for view in self._overlays.views():
                    showGhost(self._overlays, view, self._drag.ghost, self._drag.motion)
            return True
        if self._host.tool == PLACE and not _hasModifier(interactor):
            self._showSize(viewWidget, pixel)
        return False

    def _release(self, interactor: Any, viewWidget: Any) -> bool:
        drag, self._drag = self._drag, None
        # Whoever saw the press must see the release.
        pressed, self._pressed = self._pressed, False
        if drag is None:
            return pressed
        self._overlays.hideAll()
        if drag.isClick:
            self._host.pick(drag.start)
        else:
            self._host.drop(drag.start, drag.motion)
        return True

    def _leave(self, interactor: Any, viewWidget: Any) -> bool:
        if self._host.tool == PLACE:
            self._overlays.hide(viewWidget)
        return False

    def _wheel(self, interactor: Any, viewWidget: Any, factor: float) -> bool:
        """With Shift, as for the brushes of the editor; else it scrolls."""
        if not interactor.GetShiftKey() or self._host.tool != PLACE:
            return False
        self._host.scaleDiameter(factor)
        self._showSize(viewWidget, interactor.GetEventPosition())
        return True

    def _showSize(self, viewWidget: Any, pixel: Any) -> None:
        radius = self._host.diameter() / 2 / pixelSize(viewWidget.mrmlSliceNode())
        self._overlays.show(viewWidget, circle(pixel, radius))

    def _key(self, interactor: Any, viewWidget: Any) -> bool:
        if interactor.GetKeySym() != "Escape" or self._drag is None:
            return False
        self.cancel()
        return True


def showGhost(overlays: SliceOverlays, viewWidget: Any, ghost: Ghost, motion: Motion) -> None:
    """Draw where the moved tumor cuts a slice view."""
    sliceNode = viewWidget.mrmlSliceNode()
    overlays.show(viewWidget, ghost.outline(motion, pixelToWorld(sliceNode), sizeOf(sliceNode)))


def _hasModifier(interactor: Any) -> bool:
    """Whether a key is held that makes the mouse do other things (pan, zoom, window)."""
    return bool(interactor.GetShiftKey() or interactor.GetControlKey() or interactor.GetAltKey())
