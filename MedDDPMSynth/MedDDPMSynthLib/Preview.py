"""The picture that sharpens while a job samples: one volume node, updated in place."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.jobs.preview import read_preview
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Nodes import SliceLayers, displayGray, placeLike, removeNode, setAffine, showInSlices, showOutline
from MedDDPMSlicerLib.Volumes import newImage, slabs

logger = logging.getLogger(__name__)

GRID_NAME, MAX_GRID_BYTES = "grid.json", 64 * 1024
# [-1, 1] in the preview file, 0 to this in the scene, as in the results.
BRIGHTEST = 1000


class Preview:
    """Shows the newest picture of a job, one at a time, in small steps.

    Makes its node with the first picture and shows it in the slice views. ``modality``: the one of the pictures that is
    shown. ``remove`` takes the node away and shows what was there before.
    """

    def __init__(self, segmentationNode: Any, modality: str) -> None:
        self._segmentation, self._modality = segmentationNode, modality
        self._layers: SliceLayers | None = None
        self._id: str | None = None
        self._task: SlicedTask | None = None
        self._shown: Path | None = None

    @property
    def node(self) -> Any:
        """The volume node; None as long as there is none."""
        return slicer.mrmlScene.GetNodeByID(self._id) if self._id else None

    def follow(self, picture: Path | None) -> None:
        """Begin to show a picture file, unless it was shown or an older one is still on its way."""
        if picture is None or picture == self._shown or (self._task is not None and not self._task.finished):
            return
        self._shown = picture
        self._task = SlicedTask(self._update(picture), lambda _: None, _logFailure)

    def tick(self, seconds: float) -> None:
        """Work for about ``seconds``."""
        if self._task is not None and not self._task.finished:
            self._task.step(seconds)

    def remove(self) -> None:
        """End showing, and take the node away; views that showed it show what they did before."""
        if self._task is not None and not self._task.finished:
            self._task.cancel()
        node = self.node
        if node is None:
            return
        if self._layers is not None:
            self._layers.restore(instead=self._id)
        removeNode(node)
        self._id = None

    def _update(self, picture: Path) -> Generator[None, None, None]:
        """Steps that show a picture. One that is gone or unreadable is passed over."""
        try:
            channels = read_preview(picture)
            grid = read_json(picture.parent / GRID_NAME, MAX_GRID_BYTES, "The grid of the preview cannot be read.")
            modalities = [str(m).casefold() for m in grid.get("modalities", [])]
            wanted = self._modality.casefold()
            channel = modalities.index(wanted) if wanted in modalities else 0
            affine = np.asarray(grid.get("affine"), dtype=np.float64)
            if affine.shape != (4, 4) or not np.isfinite(affine).all() or channel >= channels.shape[0]:
                raise InputError("The grid of the preview does not fit.")
        except (FileNotFoundError, InputError) as exc:
            logger.info("a preview was passed over: %s", type(exc).__name__)
            return
        yield
        source = channels[channel].T
        image, target = newImage(source.shape[::-1], np.int16)
        for part in slabs(target.shape[0], target.shape[1] * target.shape[2]):
            target[part] = np.rint((source[part].astype(np.float32) + 1) * (BRIGHTEST / 2))
            yield
        self._show(image, affine)

    def _show(self, image: Any, affine: np.ndarray) -> None:
        node = self.node
        if node is not None:
            node.SetAndObserveImageData(image)
            return
        name = f"{self._modality} preview – {self._segmentation.GetName()} (synthetic)"
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetSaveWithScene(False)
        self._id = node.GetID()
        setAffine(node, affine)
        placeLike(node, self._segmentation)
        displayGray(node, 0, BRIGHTEST)
        node.SetAndObserveImageData(image)
        self._layers = SliceLayers()
        showInSlices(node)
        showOutline(self._segmentation)  # filled, the mask would hide the picture


def _logFailure(error: Exception) -> None:
    logger.warning("a preview could not be shown: %s", type(error).__name__)
