"""A new segmentation to paint in; without Qt."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

CANVAS_ROLE = "MedDDPM.canvas"
# Voxels of a new mask are at most this large (mm), also for models with a coarser grid: one cannot paint well on 2 mm.
FINEST_NEEDED = 1.0
_AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def newSegmentation(reference: Any, grid: Any, name: str = "Mask") -> Any:
    """A new, empty segmentation node on the grid of ``reference``, or on one that covers the model's ``grid``.

    ``reference`` is a scalar volume node or None; ``grid`` is a ``medddpm.config.GridConfig``, placed with its center
    at the origin (RAS).
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    giveGeometry(node, reference, grid)
    return node


def hasGeometry(node: Any) -> bool:
    """Whether a segmentation knows the grid that it is painted on."""
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    return bool(node.GetSegmentation().GetConversionParameter(parameter))


def giveGeometry(node: Any, reference: Any, grid: Any) -> None:
    """Set the grid that a segmentation is painted on, where it has none yet."""
    if hasGeometry(node):
        return
    if reference is not None and reference.GetImageData() is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
        return
    converter = slicer.vtkSegmentationConverter
    text = converter.SerializeImageGeometry(_image(grid))
    node.GetSegmentation().SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), text)


def _image(grid: Any) -> Any:
    """A voxel grid (without voxels) over the extent of a model's grid, centered at the origin."""
    spacing = [min(FINEST_NEEDED, side) for side in grid.spacing]
    counts = [round(n * side / fine) for n, side, fine in zip(grid.shape, grid.spacing, spacing, strict=True)]
    directions = [_AXES[letter] for letter in grid.orientation]
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, counts[0] - 1, 0, counts[1] - 1, 0, counts[2] - 1)
    image.SetSpacing(spacing)
    image.SetDirections([[directions[axis][row] for axis in range(3)] for row in range(3)])
    halves = [(count - 1) * side / 2 for count, side in zip(counts, spacing, strict=True)]
    image.SetOrigin([-sum(directions[axis][row] * halves[axis] for axis in range(3)) for row in range(3)])
    return image


def canvasOf(segmentation: Any) -> Any:
    """The blank, hidden volume on which a segmentation without an MRI is painted; None where it has no grid yet.

    The editor needs some volume. This one is not saved with the scene; it is made again when it is missing.
    """
    canvas = segmentation.GetNodeReference(CANVAS_ROLE)
    if canvas is None:
        image = _gridOf(segmentation)
        if image is None:
            return None
        canvas = _blankVolume(image)
        segmentation.SetNodeReferenceID(CANVAS_ROLE, canvas.GetID())
    canvas.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    return canvas


def _gridOf(segmentation: Any) -> Any:
    """The grid of a segmentation as an image without voxels: what it is painted on, or what its segments span."""
    core = segmentation.GetSegmentation()
    converter = slicer.vtkSegmentationConverter
    text = core.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    if not text and core.GetNumberOfSegments():
        segments = vtk.vtkStringArray()
        core.GetSegmentIDs(segments)
        text = core.DetermineCommonLabelmapGeometry(core.EXTENT_UNION_OF_SEGMENTS_PADDED, segments)
    image = slicer.vtkOrientedImageData()
    if not text or not converter.DeserializeImageGeometry(text, image, False):
        return None
    return image if image.GetNumberOfPoints() else None


def _blankVolume(image: Any) -> Any:
    """A hidden volume node of zeros (uint8) on the grid of ``image``."""
    toRas = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(toRas)
    extent = image.GetExtent()
    # Voxels of a volume node are counted from 0, those of a segmentation from anywhere.
    first = toRas.MultiplyPoint((*extent[::2], 1.0))
    for row in range(3):
        toRas.SetElement(row, 3, first[row])
    voxels = vtk.vtkImageData()
    voxels.SetDimensions(image.GetDimensions())
    voxels.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    voxels.GetPointData().GetScalars().Fill(0)
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName("Blank image (no MRI)")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node = slicer.mrmlScene.AddNode(node)
    node.SetIJKToRASMatrix(toRas)
    node.SetAndObserveImageData(voxels)
    node.CreateDefaultDisplayNodes()
    return node
