"""Editing a real scan: only the changed region is made anew."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.jobs.events import State  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib.Nodes import removeNode  # noqa: E402
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels  # noqa: E402
from MedDDPMSlicerLib.Volumes import volumeOf  # noqa: E402
from MedDDPMSynthLib.LocalEdit import copyMask, missingForEdit, takeSnapshot  # noqa: E402
from MedDDPMSynthLib.Options import SynthInputs  # noqa: E402
from scene_phantoms import volumeNodeFromArray  # noqa: E402
from synth_helpers import SECONDS, leftovers, options  # noqa: E402
from synth_phantoms import GEOMETRIES, painted, phantom, positions  # noqa: E402

BRATS = load_scheme("brats")
LESION = (-30.0, 20.0, 30.0)  # of the new lesion, RAS mm


def realScan(scene, grid):
    """Volumes of the model's modalities with intensities of a scanner, on the grid of the mask."""
    shape, affine = GEOMETRIES[grid]
    generator = np.random.default_rng(1)
    brain = phantom(grid).data > 0
    scans = {}
    for number, modality in enumerate(("T1", "FLAIR")):
        data = (generator.normal(600 + 300 * number, 60, shape) * brain).clip(0, None).astype(np.int16)
        scans[modality] = volumeNodeFromArray(scene, f"real {modality}", data, affine)
        scans[modality].GetDisplayNode().SetAutoWindowLevel(False)
        scans[modality].GetDisplayNode().SetWindowLevelMinMax(10, 1500)
    return scans


def addLesion(segmentation, grid, radius=14.0):
    """Paint a lesion; returns the distance of every voxel (mm) from its center."""
    shape, affine = GEOMETRIES[grid]
    points = positions(shape, affine)
    distance = np.sqrt(sum((p - c) ** 2 for p, c in zip(points, LESION, strict=True)))
    labels = composeLabels(segmentation, BRATS)
    data = np.where((distance <= radius) & (labels.data == 4), 3, labels.data).astype(np.uint8)
    applyLabels(segmentation, BRATS, type(labels)(data, labels.affine))
    return distance


@pytest.mark.slow(but="lps")
@pytest.mark.parametrize("grid", ["lps", "oblique"])
def test_the_rest_stays_the_patients_own(service, scene, modelFolder, grid):
    segmentation = painted(scene, grid=grid)
    scans = realScan(scene, grid)
    original = takeSnapshot(segmentation)
    distance = addLesion(segmentation, grid)
    inputs = SynthInputs(segmentation, None, scans, original)
    run = service.generate(inputs, options(modelFolder, seam_mm=3.0, marginMm=5.0))
    service.waitFor(run, SECONDS)
    run.raiseFailure()
    assert len(run.volumes) == 2
    far = distance > 14 + 5 + 3 + 12  # beyond region and seam, with a voxel of the model's grid to spare
    for volume, scan in zip(run.volumes, scans.values(), strict=True):
        made, real = volumeOf(volume), volumeOf(scan)
        np.testing.assert_allclose(made.affine, real.affine, atol=1e-3)
        np.testing.assert_array_equal(made.data[far], real.data[far])
        assert (made.data[distance < 10] != real.data[distance < 10]).mean() > 0.5, "the lesion was made"
        assert volume.GetDisplayNode().GetWindowLevelMax() == 1500, "shown as the real scan is"
    assert run.caseName == "Case"


def test_real_scan_under_another_transform(service, scene, modelFolder):
    """The scan lies elsewhere by its transform, and the same transform's inverse by its own affine."""
    import vtk

    segmentation = painted(scene)
    scans = realScan(scene, "lps")
    matrix = vtk.vtkMatrix4x4()
    for row, shift in enumerate((30.0, -12.0, 7.0)):
        matrix.SetElement(row, 3, shift)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    for scan in scans.values():
        own = vtk.vtkMatrix4x4()
        scan.GetIJKToRASMatrix(own)
        for row, shift in enumerate((30.0, -12.0, 7.0)):
            own.SetElement(row, 3, own.GetElement(row, 3) - shift)
        scan.SetIJKToRASMatrix(own)
        scan.SetAndObserveTransformNodeID(transform.GetID())
    original = takeSnapshot(segmentation)
    distance = addLesion(segmentation, "lps")
    run = service.generate(SynthInputs(segmentation, None, scans, original), options(modelFolder))
    service.waitFor(run, SECONDS)
    run.raiseFailure()
    far = distance > 14 + 6 + 4 + 12
    made, real = volumeOf(run.volumes[0]), volumeOf(scans["T1"])
    np.testing.assert_array_equal(made.data[far], real.data[far])


def test_nothing_changed(service, scene, modelFolder):
    segmentation = painted(scene)
    original = takeSnapshot(segmentation)
    run = service.generate(SynthInputs(segmentation, None, realScan(scene, "lps"), original), options(modelFolder))
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED and "not been changed" in run.message
    assert leftovers(service) == []


def test_snapshot(scene):
    segmentation = painted(scene)
    before = composeLabels(segmentation, BRATS)
    snapshot = takeSnapshot(segmentation)
    assert snapshot.GetHideFromEditors() and not snapshot.GetDisplayNode().GetVisibility()
    addLesion(segmentation, "lps")
    np.testing.assert_array_equal(composeLabels(snapshot, BRATS).data, before.data)
    assert (composeLabels(segmentation, BRATS).data != before.data).any()
    copyMask(snapshot, segmentation)
    np.testing.assert_array_equal(composeLabels(segmentation, BRATS).data, before.data)
    count = scene.GetNumberOfNodes()
    removeNode(snapshot)
    assert scene.GetNumberOfNodes() <= count - 2


def test_what_is_missing_for_an_edit(scene, modelFolder):
    from MedDDPMSlicerLib.Models import ModelLibrary
    from MedDDPMSlicerLib.Storage import Settings

    model = ModelLibrary(modelFolder.parent, Settings()).describe(str(modelFolder))
    segmentation = painted(scene)
    scans = realScan(scene, "lps")
    assert "T1 or FLAIR" in missingForEdit(model, SynthInputs(segmentation, None, {"T9": scans["T1"]}))
    some = SynthInputs(segmentation, None, {"T1": scans["T1"]}, takeSnapshot(segmentation))
    assert missingForEdit(model, some) is None, "the others are made without a scan"
    assert "before you change" in missingForEdit(model, SynthInputs(segmentation, None, scans))
    assert "same node" in missingForEdit(model, SynthInputs(segmentation, None, scans, segmentation))
    assert missingForEdit(model, SynthInputs(segmentation, None, scans, takeSnapshot(segmentation))) is None
