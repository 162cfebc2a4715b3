"""A slice view on the phantom, without a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from effect_phantom import TUMOR
from SegmentEditorMedDDPMLib.Ghost import pixelToWorld

SIZE = (200, 160)


def axialSlice(scene: Any) -> Any:
    """An axial slice view of 100 x 80 mm through the tumor."""
    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName("Red")
    node.SetOrientationToDefault()
    scene.AddNode(node)
    node.SetDimensions(*SIZE, 1)
    node.SetFieldOfView(100.0, 80.0, 1.0)
    node.JumpSliceByCentering(*TUMOR)
    node.UpdateMatrices()
    return node


def worldOf(lines: Any, sliceNode: Any) -> np.ndarray:
    """RAS mm of the points of lines drawn in a slice view, (N, 3)."""
    pixels = np.array([lines.GetPoint(i) for i in range(lines.GetNumberOfPoints())]).reshape(-1, 3)
    return pixels @ pixelToWorld(sliceNode)[:3, :3].T + pixelToWorld(sliceNode)[:3, 3]
