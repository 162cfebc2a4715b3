"""The outline of head or brain from an MRI, made by the tools worker and written into the mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume
from medddpm.labels.conventions import outline_kind
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from MedDDPMSlicerLib.ToolJob import Steps, ToolJob

from .LocalEdit import gridImage
from .Request import exportVolume

OUTPUT = "outline.nrrd"


class OutlineJob(ToolJob):
    """Makes the surrounding label of ``model`` (head or brain) from a volume.

    What is painted already stays, tumor lies over the outline. ``saveUndo`` is called before the segments change.
    Raises InputError where segmentation or volume are missing.
    """

    def __init__(
        self,
        segmentationNode: Any,
        volumeNode: Any,
        model: ModelDescription,
        storage: Any,
        jobs: Any,
        onDone: Callable[[], None] | None = None,
        onError: Callable[[str], None] | None = None,
        saveUndo: Callable[[], None] | None = None,
    ) -> None:
        if segmentationNode is None:
            raise InputError("Choose a segmentation first.")
        if volumeNode is None or volumeNode.GetImageData() is None:
            raise InputError("Choose a reference volume first: the outline is made from it.")
        self._segmentation, self._model = segmentationNode, model
        self._onDone, self._saveUndo = onDone, saveUndo
        super().__init__(jobs, self._steps(volumeNode, storage), self._apply, onError or (lambda sentence: None))

    def _steps(self, volumeNode: Any, storage: Any) -> Steps:
        path = yield from exportVolume(volumeNode, self._segmentation, storage)
        return "outline", {"image": str(path), "kind": outlineKind(self._model)}

    def _apply(self, outputs: Path) -> Steps:
        from medddpm.geometry.io import read_mask

        if self._segmentation.GetScene() is None:
            return None
        outline = read_mask(outputs / OUTPUT).volume
        yield
        labels = self._withPainted(outline)
        yield
        if self._saveUndo is not None:
            self._saveUndo()
        applyLabels(self._segmentation, self._model.config.scheme, labels)
        return self._onDone

    def _withPainted(self, outline: Any) -> Any:
        """The outline in the surrounding label, with the tumor, and tissues inside, that are there already over it."""
        scheme = self._model.config.scheme
        labels = np.where(outline.data > 0, scheme.surround, 0).astype(np.uint8)
        painted = _painted(self._segmentation, scheme, Volume(labels, outline.affine))
        if painted is not None:
            kept = np.isin(painted.data, scheme.tumor_values)
            kept |= np.isin(painted.data, scheme.tissue_values) & (labels > 0)
            labels[kept] = painted.data[kept]
        return Volume(labels, outline.affine)


def outlineKind(model: ModelDescription) -> str:
    """``"brain"`` or ``"head"``: what the surrounding label of a model is."""
    return outline_kind(model.config.scheme)


def _painted(segmentationNode: Any, scheme: Any, grid: Any) -> Any:
    """What is painted already, on ``grid`` (a Volume); None where nothing is."""
    try:
        return composeLabels(segmentationNode, scheme, gridImage(grid))
    except InputError:
        return None
