"""The grid on which a new mask is painted, and the canvas of the editor where there is no MRI."""

from __future__ import annotations

import numpy as np
import pytest
from synth_phantoms import GEOMETRIES


def gridConfig(shape, spacing, orientation):
    from medddpm.config import GridConfig

    return GridConfig(shape, spacing, orientation)


def corners(volumeNode) -> np.ndarray:
    """RAS bounds (mm) of a volume: x, X, y, Y, z, Z."""
    bounds = np.zeros(6)
    volumeNode.GetRASBounds(bounds)
    return bounds


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR"])
def test_a_new_mask_covers_the_models_grid_in_finer_voxels(scene, orientation):
    from MedDDPMSlicerLib.SegmentVoxels import parameterLattice
    from MedDDPMSynthLib.Panels.EmptyMask import canvasOf, newSegmentation

    segmentation = newSegmentation(None, gridConfig((24, 16, 8), (2.0, 3.0, 0.5), orientation))
    assert parameterLattice(segmentation.GetSegmentation()) is not None
    canvas = canvasOf(segmentation)
    assert canvas.GetImageData().GetDimensions() == (48, 48, 8)
    assert canvas.GetSpacing() == pytest.approx((1.0, 1.0, 0.5))
    extent = dict(zip(orientation, (48.0, 48.0, 4.0), strict=True))
    sides = [extent.get(a, extent.get(b)) for a, b in (("R", "L"), ("A", "P"), ("S", "I"))]
    expected = np.array([[-side / 2, side / 2] for side in sides]).ravel()
    assert corners(canvas) == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(GEOMETRIES))
def test_a_new_mask_takes_the_grid_of_the_mri(scene, name):
    from MedDDPMSlicerLib.Volumes import affineOf
    from MedDDPMSynthLib.Panels.EmptyMask import canvasOf, newSegmentation
    from scene_phantoms import volumeNodeFromArray

    shape, affine = GEOMETRIES[name]
    reference = volumeNodeFromArray(scene, "MRI", np.zeros(shape, np.float32), affine)
    segmentation = newSegmentation(reference, gridConfig((8, 8, 8), (2.0, 2.0, 2.0), "RAS"))
    canvas = canvasOf(segmentation)
    assert canvas.GetImageData().GetDimensions() == shape
    assert affineOf(canvas) == pytest.approx(affine)


def test_the_canvas_is_hidden_unsaved_and_made_once(scene):
    from MedDDPMSynthLib.Panels.EmptyMask import canvasOf, newSegmentation

    segmentation = newSegmentation(None, gridConfig((8, 8, 8), (2.0, 2.0, 2.0), "RAS"))
    canvas = canvasOf(segmentation)
    assert canvasOf(segmentation) is canvas
    assert canvas.GetHideFromEditors() and not canvas.GetSaveWithScene() and canvas.GetName() == "Mask (no MRI)"
    scene.RemoveNode(canvas)
    assert canvasOf(segmentation) is not None


def test_the_canvas_follows_the_masks_transform(scene):
    from MedDDPMSynthLib.Panels.EmptyMask import canvasOf, newSegmentation

    segmentation = newSegmentation(None, gridConfig((8, 8, 8), (2.0, 2.0, 2.0), "RAS"))
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    assert canvasOf(segmentation).GetTransformNodeID() == transform.GetID()


def test_a_volume_that_got_the_canvas_id_in_a_loaded_scene_is_no_canvas(scene):
    from MedDDPMSynthLib.Panels.EmptyMask import CANVAS_ROLE, canvasOf, knownCanvas, newSegmentation
    from scene_phantoms import volumeNodeFromArray

    segmentation = newSegmentation(None, gridConfig((8, 8, 8), (2.0, 2.0, 2.0), "RAS"))
    mri = volumeNodeFromArray(scene, "MRI", np.zeros((4, 4, 4), np.float32), np.eye(4))
    segmentation.SetNodeReferenceID(CANVAS_ROLE, mri.GetID())
    assert knownCanvas(segmentation) is None
    assert canvasOf(segmentation) is not mri and canvasOf(segmentation) is knownCanvas(segmentation)


def test_a_segmentation_without_grid_and_segments_has_no_canvas(scene):
    from MedDDPMSynthLib.Panels.EmptyMask import canvasOf

    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert canvasOf(segmentation) is None


def test_a_painted_segmentation_without_grid_gets_the_grid_of_its_segments(scene):
    import slicer
    from MedDDPMSynthLib.Panels.EmptyMask import canvasOf
    from MedDDPMSynthLib.SampleCase import loadSampleCase

    segmentation = loadSampleCase()
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation.GetSegmentation().SetConversionParameter(parameter, "")
    masked, whole = np.zeros(6), corners(canvasOf(segmentation))
    segmentation.GetRASBounds(masked)
    assert (whole[::2] <= masked[::2] + 0.5).all() and (whole[1::2] >= masked[1::2] - 0.5).all()
