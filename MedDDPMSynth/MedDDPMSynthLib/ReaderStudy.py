"""A reader at work in the slice views: one blinded image after the other, and what they say of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError
from medddpm.studies.reading import BRIGHTEST, VOLUMES, Item, Session
from MedDDPMSlicerLib.Nodes import SliceLayers, removeNode, showInSlices
from MedDDPMSlicerLib.Volumes import loadVolume

LAYOUTS = slicer.vtkMRMLLayoutNode
ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class ReaderStudy:
    """Shows the images of a study to one reader and keeps the answers; see ``medddpm.studies.reading``.

    Every image is shown alike: same name, window, orientation and layout. ``item``: the image on the screen, None when
    all are read. ``clock`` gives seconds. Raises InputError where the folder holds no study, or the reader is at work
    elsewhere.
    """

    def __init__(self, folder: Path, reader: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.session = Session(folder, reader)
        self.item: Item | None = None
        self._clock, self._node = clock, None
        self._layers, self._layout = SliceLayers(), _layoutNode().GetViewArrangement()
        try:
            self._show(self.session.next())
        except InputError:
            self.close()
            raise

    @property
    def total(self) -> int:
        """How many images there are in all parts."""
        return len(self.session.order)

    @property
    def number(self) -> int:
        """The number of the image on the screen, from 1."""
        return len(self.session.done) + 1

    def answer(self, answer: str, confidence: int) -> None:
        """Keep what the reader says of the image on the screen, and show the next one."""
        if self.item is not None:
            self.session.answer(self.item, answer, confidence, self._clock() - self._since)
            self._show(self.session.next())

    def back(self) -> None:
        """Take the last answer back, and show its image again."""
        last = self.session.take_back()
        if last is not None:
            self._show(last)

    def close(self) -> None:
        """Bring back what the views showed; the reader goes on another time."""
        self.session.close()
        if self._node is not None:
            self._layers.restore(self._node.GetID())
            _layoutNode().SetViewArrangement(self._layout)
        removeNode(self._node)
        self.item = self._node = None

    def _show(self, item: Item | None) -> None:
        former, self.item = self._node, item
        if item is not None:
            node = loadVolume(self.session.folder / item.file, "Image")
            node.SetSaveWithScene(False)
            display = node.GetDisplayNode()
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(0, BRIGHTEST)
            _layoutNode().SetViewArrangement(
                LAYOUTS.SlicerLayoutFourUpView if item.part == VOLUMES else LAYOUTS.SlicerLayoutOneUpRedSliceView
            )
            for name, orientation in ORIENTATIONS.items():
                view = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
                if view is not None:
                    view.SetOrientation(orientation)
            showInSlices(node)
            slicer.util.resetSliceViews()
            self._node = node
            removeNode(former)
        self._since = self._clock()


def _layoutNode() -> Any:
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()
