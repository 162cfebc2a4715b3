"""A real image and the model's own in the two slice views of a training; no Qt."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import slicer
import vtk
from MedDDPMSlicerLib.Slabs import slabs
from MedDDPMSlicerLib.Views import compositeNode
from vtk.util.numpy_support import vtk_to_numpy

from .RunLayout import REAL, SYNTHETIC

MASK_OPACITY = 0.6
Center = tuple[float, float, float]


def showPair(real: Any, synthetic: Any, mask: Any = None) -> Generator[None, None, None]:
    """Steps that put two volumes into the slice views, with the outline of a label map (None for none) over both."""
    for name, volume in ((REAL, real), (SYNTHETIC, synthetic)):
        sliceNode = _sliceNode(name)
        if sliceNode is not None:
            sliceNode.SetUseLabelOutline(True)
        if _setLayers(compositeNode(name), volume, mask):
            yield


def lookAt(mask: Any = None, tumorValues: tuple[int, ...] = ()) -> Generator[None, None, None]:
    """Steps that bring the images into sight, cut through the tumor: the voxels of ``tumorValues`` in the mask."""
    center = None if mask is None else (yield from tumorCenter(mask, tumorValues))
    for name in (REAL, SYNTHETIC):
        _fit(name)
        yield
        if center is not None and _sliceNode(name) is not None:
            _sliceNode(name).JumpSliceByOffsetting(*center)
            yield


def tumorCenter(mask: Any, tumorValues: tuple[int, ...]) -> Generator[None, None, Center | None]:
    """Steps that find the RAS (mm) of the middle of the tumor; they return None without one."""
    image = mask.GetImageData()
    if image is None:
        return None
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    total, number = np.zeros(3), 0
    for part in slabs(voxels.shape[0], voxels[0].size):
        places = np.argwhere(np.isin(voxels[part], tumorValues))
        total += places.sum(axis=0) + np.array((part.start * len(places), 0, 0))
        number += len(places)
        yield
    if number == 0:
        return None
    matrix = vtk.vtkMatrix4x4()
    mask.GetIJKToRASMatrix(matrix)
    x, y, z, _ = matrix.MultiplyPoint((*(total / number)[::-1], 1.0))
    return x, y, z


def _setLayers(composite: Any, volume: Any, mask: Any) -> bool:
    """Show a volume and a label map; returns whether that is another picture than before.

    Volumes that have left the scene meanwhile are not shown.
    """
    before = (composite.GetBackgroundVolumeID(), composite.GetLabelVolumeID())
    wanted = (volume.GetID(), mask.GetID() if mask is not None else None)
    if before == wanted or volume.GetScene() is None:
        return False
    wasModifying = composite.StartModify()
    composite.SetBackgroundVolumeID(wanted[0])
    composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(wanted[1])
    composite.SetLabelOpacity(MASK_OPACITY)
    composite.SetLinkedControl(True)
    composite.EndModify(wasModifying)
    return True


def _fit(name: str) -> None:
    """Bring an image into sight; without the application there is nothing to be seen."""
    logic = getattr(slicer.app, "applicationLogic", lambda: None)()
    node = _sliceNode(name)
    sliceLogic = logic.GetSliceLogic(node) if logic is not None and node is not None else None
    if sliceLogic is not None:
        sliceLogic.FitSliceToAll()


def _sliceNode(name: str) -> Any:
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
