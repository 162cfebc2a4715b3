"""Small things that are done to volume nodes: place, gray levels, removal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import slicer
import vtk

from .Hierarchy import hierarchyOf

GRAY = "vtkMRMLColorTableNodeGrey"


def setAffine(volumeNode: Any, affine: np.ndarray) -> None:
    """Set the matrix voxel index -> RAS mm (4x4)."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine, dtype=np.float64).ravel().tolist())
    volumeNode.SetIJKToRASMatrix(matrix)


def placeLike(volumeNode: Any, segmentationNode: Any) -> None:
    """Put a volume in segmentation coordinates where the segmentation is: under its parent transform."""
    volumeNode.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())


def displayGray(volumeNode: Any, low: float, high: float) -> None:
    """Gray levels from ``low`` (black) to ``high`` (white).

    Call it before the voxels are set: then nothing looks through all voxels for a window of its own.
    """
    display = volumeNode.GetDisplayNode()
    if display is None:
        display = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.SetAndObserveColorNodeID(GRAY)
        volumeNode.SetAndObserveDisplayNodeID(display.GetID())
    display.SetAutoWindowLevel(False)
    display.SetAutoThreshold(False)
    display.SetWindowLevelMinMax(float(low), float(high))


def showOutline(segmentationNode: Any) -> None:
    """Show a mask as outlines, so that the images below can be seen."""
    display = segmentationNode.GetDisplayNode()
    if display is not None:
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)


def removeNode(node: Any) -> None:
    """Remove a node with its display and storage nodes, if any; nothing happens where it has gone already."""
    if node is None or node.GetScene() is None:
        return
    scene = node.GetScene()
    tree = hierarchyOf(scene)
    item = tree.GetItemByDataNode(node)
    for kind in ("GetDisplayNode", "GetStorageNode"):
        companion = getattr(node, kind)() if hasattr(node, kind) else None
        if companion is not None:
            scene.RemoveNode(companion)
    scene.RemoveNode(node)
    if item and tree.GetItemDataNode(item) is not None:  # without Qt nobody else removes it
        tree.RemoveItem(item, False, False)


class NodeList:
    """Nodes that may leave their scene at any time; they are not kept alive, with all their voxels, by being listed."""

    def __init__(self, nodes: Iterable[Any] = ()) -> None:
        self._references = [_weakly(node) for node in nodes]

    def inScene(self) -> list[Any]:
        """Those that are still in a scene."""
        nodes = (reference.Get() for reference in self._references)
        return [node for node in nodes if node is not None and node.GetScene() is not None]


def _weakly(node: Any) -> Any:
    reference = vtk.vtkWeakReference()
    reference.Set(node)
    return reference
