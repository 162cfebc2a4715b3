"""Editing a real scan: only the changed region is made anew."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError  # noqa: E402
from medddpm.jobs.events import State  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib.Lattice import Lattice  # noqa: E402
from MedDDPMSlicerLib.Nodes import hierarchyOf, itemOf, markSynthetic, putUnder, removeNode  # noqa: E402
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels  # noqa: E402
from MedDDPMSlicerLib.SegmentVoxels import maskOn  # noqa: E402
from MedDDPMSlicerLib.Volumes import volumeOf  # noqa: E402
from MedDDPMSynthLib.LocalEdit import (  # noqa: E402
    contrastOf,
    copyMask,
    missingForEdit,
    sameContrast,
    takeSnapshot,
)
from MedDDPMSynthLib.Options import SynthInputs  # noqa: E402
from MedDDPMSynthLib.Results import _steps, discardSample, samplesOf  # noqa: E402
from scene_phantoms import volumeNodeFromArray  # noqa: E402
from synth_helpers import SECONDS, generated, leftovers, options, pollUntil  # noqa: E402
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


def test_an_edited_scan_is_named_and_says_what_of_it_is_synthetic(service, scene, modelFolder):
    segmentation = painted(scene, "Segmentation")
    tree = hierarchyOf()
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "Doe^Jane")
    putUnder(segmentation, patient)
    scan = {"FLAIR": realScan(scene, "lps")["FLAIR"]}
    original = takeSnapshot(segmentation)
    addLesion(segmentation, "lps")
    red = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red")
    red.SetBackgroundVolumeID(scan["FLAIR"].GetID())
    run = service.generate(SynthInputs(segmentation, None, scan, original), options(modelFolder))
    pollUntil(service, lambda: run.folder is not None or run.finished)
    record = run.folder.inside("scene.json").read_text("utf-8") + run.folder.inside("job.json").read_text("utf-8")
    service.waitFor(run, SECONDS)
    run.raiseFailure()
    case = "Doe^Jane, Segmentation"
    names = [volume.GetName() for volume in run.volumes]
    assert names == [f"T1 01 – {case} (synthetic)", f"FLAIR 01 – {case} (edited scan)"]
    assert run.warnings[-1] == "Not given of the scan, so synthetic throughout: T1."
    assert "Doe" not in record, "a patient's name goes into no file"
    (sample,) = samplesOf(segmentation)
    assert sample.edited and sample.anatomy is None
    assert tree.GetItemName(sample.item) == "Edited scan 01 (seed 7)"
    assert tree.GetItemName(run.resultItem) == f"{case} – edited scan"
    assert tree.GetItemParent(run.resultItem) == patient == tree.GetItemParent(itemOf(segmentation))
    assert red.GetBackgroundVolumeID() == run.volumes[1].GetID(), "the contrast that was seen before"

    core = sample.region.GetSegmentation()
    assert [core.GetNthSegment(n).GetName() for n in range(core.GetNumberOfSegments())] == ["Synthetic region"]
    assert not sample.region.GetDisplayNode().GetVisibility()
    grid = volumeOf(run.volumes[1])
    region = maskOn(sample.region, core.GetNthSegmentID(0), Lattice.ofVolume(grid)).T
    differs = grid.data != volumeOf(scan["FLAIR"]).data
    assert differs.any() and not (differs & ~region).any() and region.mean() < 0.2

    whole = generated(service, segmentation, modelFolder)
    assert tree.GetItemName(whole.resultItem) == f"{case} – synthetic"
    assert [sample.edited for sample in samplesOf(segmentation)] == [True, False]
    with pytest.raises(InputError, match="only those of one kind"):
        list(_steps(samplesOf(segmentation), "FLAIR"))
    discardSample(samplesOf(segmentation)[0], service.jobs)
    assert [sample.number for sample in samplesOf(segmentation)] == [2] and sample.region.GetScene() is None


def test_image_and_mask_of_two_patients_are_refused(service, scene, modelFolder):
    segmentation, scan = painted(scene), realScan(scene, "lps")["T1"]
    tree = hierarchyOf()
    for node, patient in ((segmentation, "Doe^Jane"), (scan, "Roe^Joe")):
        putUnder(node, tree.CreateSubjectItem(tree.GetSceneItemID(), patient))
    run = service.generate(SynthInputs(segmentation, scan), options(modelFolder))
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED and leftovers(service) == []
    assert "'real T1' belongs to the patient Roe^Joe, 'Case' to Doe^Jane" in run.message


def test_a_frame_of_a_sequence_is_said_to_be_one(service, scene, modelFolder):
    segmentation, scan = painted(scene), realScan(scene, "lps")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Perfusion")
    for number, node in enumerate(scan.values()):
        sequence.SetDataNodeAtValue(node, str(number))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.AddSynchronizedSequenceNode(sequence)
    browser.AddProxyNode(scan["T1"], sequence, False)
    browser.SetSelectedItemNumber(0)
    run = service.generate(SynthInputs(segmentation, scan["T1"]), options(modelFolder, modalities=("T1",)))
    service.waitFor(run, SECONDS)
    run.raiseFailure()
    assert "'real T1' is a sequence: frame 1 of 2, which was shown, was used." in run.warnings


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("BraTS-GLI-00001-000-t1c", "T1ce"),
        ("brats_0001_t1", "T1"),
        ("AX T2 FLAIR", "FLAIR"),
        ("t1_mprage_sag_post Gd", "T1ce"),
        ("T1 pre contrast", None),
        ("MRHead", None),
        ("T1 and T2", None),
    ],
)
def test_the_contrast_that_a_name_tells(scene, name, contrast):
    assert contrastOf(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)) == contrast


def test_the_same_contrast_is_compared(scene):
    segmentation = painted(scene)
    real = realScan(scene, "lps")
    made = {}
    for modality in ("T1", "FLAIR"):
        made[modality] = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"made {modality}")
        markSynthetic(made[modality], segmentation, {"modality": modality, "sample": 1, "seed": 0})
    (sample,) = samplesOf(segmentation)
    assert sameContrast(sample, "T1", real, None) == (real["T1"], made["T1"], "T1")
    assert sameContrast(sample, "T1", {}, real["FLAIR"]) == (real["FLAIR"], made["FLAIR"], "FLAIR"), "what both have"
    for name, sentence in (("a T2", "the real MRI T2: no contrast"), ("MRHead", "'MRHead' does not tell its contrast")):
        with pytest.raises(InputError, match=sentence):
            sameContrast(sample, "T1", {}, scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name))


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
