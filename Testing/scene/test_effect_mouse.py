"""The mouse in slice views, on real slice nodes, interactors and renderers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import vtk
from effect_phantom import (
    BRATS,
    CENTER,
    TUMOR,
    changeTumor,
    phantom,
    segmentationOf,
    tumorPoints,
)
from effect_view import axialSlice, worldOf
from medddpm.errors import InputError
from scene_phantoms import GEOMETRIES
from SegmentEditorMedDDPMLib.Ghost import Ghost, SliceOverlays, makeGhost, pixelToWorld
from SegmentEditorMedDDPMLib.Lesions import openMask
from SegmentEditorMedDDPMLib.Mouse import EVENTS, Mouse
from SegmentEditorMedDDPMLib.Options import MOVE, PLACE, Motion, Point


@pytest.fixture
def sliceNode(scene: Any) -> Any:
    """An axial slice view through the tumor."""
    return axialSlice(scene)


class View:
    """A slice view as far as the mouse needs it: a real slice node and a real renderer."""

    def __init__(self, sliceNode: Any) -> None:
        self._sliceNode = sliceNode
        self.renderer = vtk.vtkRenderer()

    def mrmlSliceNode(self) -> Any:
        """The slice node."""
        return self._sliceNode


class Renderers:
    """Adds actors to the real renderers of views, as the application does."""

    def addActor2D(self, view: View, actor: Any) -> None:
        """Show an actor."""
        view.renderer.AddViewProp(actor)

    def removeActor2D(self, view: View, actor: Any) -> None:
        """Show it no more."""
        view.renderer.RemoveViewProp(actor)

    def scheduleRender(self, view: View) -> None:
        """There is no window."""


class Overlays(SliceOverlays):
    """Overlays on one view instead of those of a layout."""

    def __init__(self, view: View) -> None:
        super().__init__(Renderers())
        self.view = view

    def views(self) -> Any:
        """The one view."""
        yield self.view

    def drawn(self) -> np.ndarray | None:
        """RAS mm of what can be seen; None where that is nothing."""
        for actor in self.view.renderer.GetViewProps():
            if actor.GetVisibility() and actor.GetMapper().GetInput().GetNumberOfPoints():
                return worldOf(actor.GetMapper().GetInput(), self.view.mrmlSliceNode())
        return None


class Hand:
    """The host of the mouse: edits a real mask and notes what it was asked for."""

    def __init__(self, node: Any, tool: str) -> None:
        self.node, self.tool = node, tool
        self.calls: list[tuple[Any, ...]] = []
        self.size = 20.0

    def diameter(self) -> float:
        """Of the next lesion."""
        return self.size

    def scaleDiameter(self, factor: float) -> None:
        """Another size for the next lesion."""
        self.size *= factor

    def place(self, point: Point) -> None:
        """Note a click."""
        self.calls.append(("place", point))

    def ghostToDrag(self, point: Point) -> Ghost | None:
        """The lesion at a point."""
        try:
            return makeGhost(openMask(self.node, BRATS), point)
        except InputError:
            self.calls.append(("none",))
            return None

    def pick(self, point: Point) -> None:
        """Note a click on a tumor."""
        self.calls.append(("pick", point))

    def drop(self, start: Point, motion: Motion) -> None:
        """Move the lesion."""
        self.calls.append(("drop",))
        changeTumor(self.node, BRATS, motion, start)

    def showChange(self) -> None:
        """Note that the drag was given up."""
        self.calls.append(("shown",))


class Desk:
    """A mouse over a view: events come from a real interactor."""

    def __init__(self, node: Any, sliceNode: Any, tool: str) -> None:
        self.view, self.hand = View(sliceNode), Hand(node, tool)
        self.overlays = Overlays(self.view)
        self.mouse = Mouse(self.hand, self.overlays)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()

    def send(self, event: int, point: np.ndarray, shift: int = 0, key: str = "") -> bool:
        """An event at a point (RAS mm); returns whether it was taken."""
        x, y = np.round((np.linalg.inv(pixelToWorld(self.view.mrmlSliceNode())) @ [*point, 1.0])[:2]).astype(int)
        self.interactor.SetEventInformation(int(x), int(y), 0, shift, "\0", 0, key)
        return self.mouse.handle(self.interactor, event, self.view)


@pytest.fixture
def mask(scene: Any) -> Any:
    """The phantom in one geometry."""
    return segmentationOf(scene, phantom(GEOMETRIES["lps"]))


def test_a_click_places_at_the_point_under_the_mouse(mask: Any, sliceNode: Any) -> None:
    desk = Desk(mask, sliceNode, PLACE)
    assert not desk.send(EVENTS.MouseMoveEvent, CENTER)
    seen = desk.overlays.drawn()
    assert seen is not None and np.ptp(seen[:, 0]) == pytest.approx(20.0, abs=0.1)
    assert desk.send(EVENTS.LeftButtonPressEvent, TUMOR - [20, 0, 0])
    assert desk.send(EVENTS.LeftButtonReleaseEvent, TUMOR - [20, 0, 0])
    ((name, point),) = desk.hand.calls
    assert name == "place"
    np.testing.assert_allclose(point, TUMOR - [20, 0, 0], atol=0.5)
    assert desk.overlays.drawn() is None


def test_shift_and_the_wheel_change_the_size_under_the_mouse(mask: Any, sliceNode: Any) -> None:
    desk = Desk(mask, sliceNode, PLACE)
    assert desk.send(EVENTS.MouseWheelForwardEvent, CENTER, shift=1)
    seen = desk.overlays.drawn()
    assert seen is not None and np.ptp(seen[:, 0]) == pytest.approx(22.0, abs=0.1)
    assert desk.send(EVENTS.MouseWheelBackwardEvent, CENTER, shift=1) and desk.hand.size == pytest.approx(20.0)
    assert not Desk(mask, sliceNode, MOVE).send(EVENTS.MouseWheelForwardEvent, CENTER, shift=1)


def test_a_drag_takes_the_tumor_along(mask: Any, sliceNode: Any) -> None:
    desk = Desk(mask, sliceNode, MOVE)
    assert desk.send(EVENTS.LeftButtonPressEvent, np.add(TUMOR, [3, 0, 0]))
    for step in (5, 10):
        assert desk.send(EVENTS.MouseMoveEvent, np.add(TUMOR, [3 - step, -step, 0]))
    seen = desk.overlays.drawn()
    np.testing.assert_allclose((seen.min(axis=0) + seen.max(axis=0)) / 2, TUMOR - [10, 10, 0], atol=1)
    assert desk.send(EVENTS.LeftButtonReleaseEvent, np.add(TUMOR, [-7, -10, 0]))
    assert desk.overlays.drawn() is None
    np.testing.assert_allclose(tumorPoints(mask).mean(axis=0), TUMOR - [10, 10, 0], atol=0.6)


def test_a_click_on_a_tumor_chooses_it(mask: Any, sliceNode: Any) -> None:
    desk = Desk(mask, sliceNode, MOVE)
    desk.send(EVENTS.LeftButtonPressEvent, TUMOR)
    desk.send(EVENTS.MouseMoveEvent, np.add(TUMOR, [0.5, 0, 0]))
    desk.send(EVENTS.LeftButtonReleaseEvent, np.add(TUMOR, [0.5, 0, 0]))
    assert [call[0] for call in desk.hand.calls] == ["pick"]
    np.testing.assert_allclose(tumorPoints(mask).mean(axis=0), TUMOR, atol=0.5)


def test_escape_ends_a_drag_without_a_change(mask: Any, sliceNode: Any) -> None:
    desk = Desk(mask, sliceNode, MOVE)
    desk.send(EVENTS.LeftButtonPressEvent, TUMOR)
    desk.send(EVENTS.MouseMoveEvent, np.add(TUMOR, [9, 0, 0]))
    assert desk.send(EVENTS.KeyPressEvent, TUMOR, key="Escape")
    assert desk.overlays.drawn() is None
    assert desk.send(EVENTS.LeftButtonReleaseEvent, np.add(TUMOR, [9, 0, 0]))
    assert [call[0] for call in desk.hand.calls] == ["shown"]
    assert not desk.send(EVENTS.KeyPressEvent, TUMOR, key="Escape")


def test_a_press_beside_the_tumor_starts_no_drag(mask: Any, sliceNode: Any) -> None:
    desk = Desk(mask, sliceNode, MOVE)
    assert desk.send(EVENTS.LeftButtonPressEvent, TUMOR - [30, 0, 0])
    assert not desk.send(EVENTS.MouseMoveEvent, TUMOR)
    assert desk.overlays.drawn() is None
    assert desk.hand.calls == [("none",)]


def test_other_gestures_are_left_to_the_view(mask: Any, sliceNode: Any) -> None:
    desk = Desk(mask, sliceNode, PLACE)
    assert not desk.send(EVENTS.LeftButtonPressEvent, TUMOR, shift=1)
    # The key may be let go before the button.
    assert not desk.send(EVENTS.LeftButtonReleaseEvent, TUMOR)
    assert not desk.send(EVENTS.RightButtonPressEvent, TUMOR)
    assert not desk.send(EVENTS.MouseWheelForwardEvent, TUMOR)
    assert desk.send(EVENTS.LeftButtonDoubleClickEvent, TUMOR)
    assert desk.hand.calls == []
