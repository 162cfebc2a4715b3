"""Models that are told tissues: the choice of anatomy and contrast, and the anatomy as segments."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
import vtk

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError, MedDDPMError  # noqa: E402
from medddpm.geometry.io import read_volume  # noqa: E402
from medddpm.geometry.volume import Volume  # noqa: E402
from medddpm.jobs.events import State  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib.Lattice import Lattice, newImage, voxelView  # noqa: E402
from MedDDPMSlicerLib.Nodes import hierarchyOf, isSynthetic, parentOf, segmentationOf, setAffine  # noqa: E402
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels  # noqa: E402
from MedDDPMSlicerLib.Segments import VALUE_TAG, segmentValues, terminologyEntry  # noqa: E402
from MedDDPMSlicerLib.SegmentVoxels import maskOn  # noqa: E402
from MedDDPMSlicerLib.Volumes import saveVolume, volumeOf  # noqa: E402
from MedDDPMSynthLib.Import import ImportPlan, importResults, undoImport  # noqa: E402
from MedDDPMSynthLib.MaskJobs import anatomyJob  # noqa: E402
from MedDDPMSynthLib.Options import (  # noqa: E402  # noqa: E402
    Anatomy,
    Contrast,
    SynthInputs,
    SynthOptions,
    inputsOf,
    optionsOf,
)
from MedDDPMSynthLib.Readiness import missingForAnatomy, untold  # noqa: E402
from MedDDPMSynthLib.Results import SAMPLE_ANATOMY, SAMPLE_VERIFICATION, discardSample, factsOf, samplesOf  # noqa: E402
from MedDDPMSynthLib.SynthLogic import SynthLogic  # noqa: E402
from MedDDPMSynthLib.SynthService import SynthService  # noqa: E402
from scene_phantoms import volumeNodeFromArray  # noqa: E402
from synth_helpers import SECONDS, generated, leftovers, options, pollUntil  # noqa: E402
from synth_phantoms import CENTER, GEOMETRIES, painted, phantom, positions  # noqa: E402
from test_synth_tools import parameters  # noqa: E402

SCHEME = load_scheme("glioma-anatomy")
TISSUES = SCHEME.tissue_values
# A number and name of FreeSurfer for each tissue of the scheme.
FREESURFER = {
    5: (24, "CSF"),
    6: (43, "Right-Lateral-Ventricle"),
    7: (42, "Right-Cerebral-Cortex"),
    8: (49, "Right-Thalamus"),
    9: (41, "Right-Cerebral-White-Matter"),
    10: (47, "Right-Cerebellum-Cortex"),
    11: (16, "Brain-Stem"),
}


def idsOf(segmentation) -> dict[int, str]:
    """Value of the scheme -> segment."""
    return {value: key for key, value in segmentValues(segmentation, SCHEME).items() if value is not None}


def paint(segmentation, value, mask, like) -> None:
    """Give a segment these voxels (X, Y, Z) of the grid of ``like``, and no other segment: nothing is overwritten."""
    image = newImage(Lattice.ofVolume(like))
    voxelView(image)[:] = mask.transpose(2, 1, 0)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, segmentation, idsOf(segmentation)[value])


def voxelsOf(segmentation, value, like) -> np.ndarray:
    """All voxels of a segment, also under others, (X, Y, Z)."""
    return maskOn(segmentation, idsOf(segmentation)[value], Lattice.ofVolume(like)).transpose(2, 1, 0)


def completed(service, segmentation, model, **choices):
    """Press "Show anatomy"; returns what was told."""
    service.library.acknowledge(str(model))
    told: list = []
    order = parameters(segmentation=segmentation, model=str(model), seed=2, **choices)
    service.completeAnatomy(order, told.append, told.append, lambda: told.append("saved"))
    assert "Completing the anatomy" in service.anatomyBlockedReason(order)
    pollUntil(service, lambda: told and told[-1] != "saved")
    return told


@pytest.mark.slow(but="lps")
@pytest.mark.parametrize("grid", ["lps", "oblique"])
def test_the_anatomy_becomes_segments_and_the_tumor_stays(service, scene, anatomyModel, grid):
    segmentation = painted(scene, grid=grid)
    given = composeLabels(segmentation, SCHEME)
    whole = np.isin(given.data, (1, 2, 3))
    paint(segmentation, 2, whole, given)  # edema also under the core, as people paint it
    saved, facts = completed(service, segmentation, anatomyModel)
    assert saved == "saved" and facts["map"] and facts["ventricles_after_ml"] > 0
    found = composeLabels(segmentation, SCHEME)
    np.testing.assert_array_equal(found.data[whole], given.data[whole])
    np.testing.assert_array_equal(voxelsOf(segmentation, 2, given), whole)
    np.testing.assert_array_equal(voxelsOf(segmentation, 4, given), given.data > 0)
    np.testing.assert_array_equal(found.data > 0, given.data > 0)
    assert set(np.unique(found.data[given.data == 4])) == set(TISSUES)
    for value in TISSUES:
        segment = segmentation.GetSegmentation().GetSegment(idsOf(segmentation)[value])
        assert segment.GetName() == SCHEME.label(value).name
        np.testing.assert_allclose(segment.GetColor(), np.array(SCHEME.label(value).color) / 255, atol=0.01)
        assert segment.GetTerminology() == terminologyEntry(SCHEME.label(value))
    assert leftovers(service) == []


@pytest.mark.slow
def test_showing_the_anatomy_can_be_undone(service, scene, anatomyModel):
    segmentation = painted(scene)
    before = composeLabels(segmentation, SCHEME)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(segmentation.GetSegmentation())
    service.library.acknowledge(str(anatomyModel))
    told: list = []
    order = parameters(segmentation=segmentation, model=str(anatomyModel))
    service.completeAnatomy(order, told.append, told.append, history.SaveState)
    pollUntil(service, lambda: bool(told))
    assert (composeLabels(segmentation, SCHEME).data > 4).any()
    history.RestorePreviousState()
    np.testing.assert_array_equal(composeLabels(segmentation, SCHEME).data, before.data)
    assert set(idsOf(segmentation)) == {1, 2, 3, 4}


@pytest.mark.slow
def test_larger_ventricles_are_painted_over_the_other_tissues(service, scene, anatomyModel):
    segmentation = painted(scene)
    completed(service, segmentation, anatomyModel)
    first = generated(service, segmentation, anatomyModel, steps=1)
    labels = composeLabels(segmentation, SCHEME)
    ball = np.linalg.norm(positions(*GEOMETRIES["lps"]) - np.array(CENTER)[:, None, None, None], axis=0) < 26
    ball &= labels.data > 4
    paint(segmentation, 6, (labels.data == 6) | ball, labels)
    assert (composeLabels(segmentation, SCHEME).data[ball & (labels.data > 6)] == 6).all()
    second = generated(service, segmentation, anatomyModel, steps=1)
    grown = ball & (labels.data == 9)
    before, after = (volumeOf(run.volumes[0]).data[grown].mean() for run in (first, second))
    assert grown.sum() > 20 and after < before - 100, "white matter is bright, fluid dark"
    facts = factsOf(samplesOf(segmentation)[1], SAMPLE_ANATOMY)
    assert facts["map"] is None and facts["mass_effect"] == 0


@pytest.mark.slow
def test_the_anatomy_comes_with_the_results_and_is_not_shown(service, scene, anatomyModel):
    segmentation = painted(scene)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    run = generated(service, segmentation, anatomyModel, samples=2, mass_effect=0.5, verify="model", best_of=2)
    assert len(run.volumes) == 4 and "tissues" not in run.message
    first, second = samplesOf(segmentation)
    anatomies = [factsOf(sample, SAMPLE_ANATOMY) for sample in (first, second)]
    assert anatomies[0]["mass_effect"] == 0.5 and anatomies[0] != anatomies[1]
    verified = factsOf(first, SAMPLE_VERIFICATION)
    assert verified["word"] in ("good", "doubtful", "poor") and verified["expected"] == 0.7
    assert len(verified["rejected"]) == 1 and set(verified["dice"]) == {"tumor_whole", "tumor_core", "tumor_enhancing"}
    for number, sample in enumerate((first, second), 1):
        node = sample.anatomy
        assert node.GetName() == f"Anatomy {number:02d} – Case (synthetic)" and isSynthetic(node)
        assert not node.GetDisplayNode().GetVisibility()
        assert node.GetTransformNodeID() == transform.GetID() and segmentationOf(node) is segmentation
        assert parentOf(node) == sample.item
        labels, given = composeLabels(node, SCHEME), composeLabels(segmentation, SCHEME)
        np.testing.assert_array_equal(labels.data > 0, given.data > 0)
        np.testing.assert_array_equal(labels.data[given.data < 4], given.data[given.data < 4])
        assert set(np.unique(labels.data[given.data == 4])) == set(TISSUES)
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    discardSample(first, service.jobs)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count - 1
    discardSample(samplesOf(segmentation)[0], service.jobs)
    assert not hierarchyOf().GetItemByName("Case – synthetic") and leftovers(service) == []
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 1


@pytest.mark.slow
def test_an_import_that_ends_early_leaves_nothing(service, scene, anatomyModel):
    segmentation = painted(scene)
    run = generated(service, segmentation, anatomyModel)
    nodes = scene.GetNumberOfNodes()
    model = service.library.describe(str(anatomyModel))
    plan = ImportPlan(segmentation, model, run.folder.outputs, "again", "Case")
    steps = importResults(plan)
    while len(plan.others) == 0:
        next(steps)
    next(steps)
    steps.close()
    undoImport(plan)
    assert scene.GetNumberOfNodes() == nodes
    plan = ImportPlan(segmentation, model, run.folder.outputs, "again", "Case", automatic=True)
    assert len(list(importResults(plan))) > 2 and plan.others == [], "a preview of the automatic update has none"
    undoImport(plan)


def tissueMap(scene, service, model, kind, grid="ras"):
    """A brain of tissues on a grid of its own under a transform, as a segmentation or label map; and its voxels."""
    source = painted(scene, "Source", grid)
    completed(service, source, model, massEffect=0.0)
    labels = composeLabels(source, SCHEME)
    tissues = np.where(labels.data < 5, 9 * (labels.data > 0), labels.data).astype(np.uint8)
    if kind == "segmentation":
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tissues")
        applyLabels(node, SCHEME, Volume(tissues, labels.affine))
        for value, segmentId in idsOf(node).items():
            segment = node.GetSegmentation().GetSegment(segmentId)
            segment.RemoveTag(VALUE_TAG)
            segment.SetTerminology("")
            segment.SetName(FREESURFER[value][1])
    else:
        table = np.zeros(12, np.int16)
        table[list(FREESURFER)] = [number for number, _ in FREESURFER.values()]
        node = volumeNodeFromArray(scene, "aseg", table[tissues], labels.affine, "vtkMRMLLabelMapVolumeNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 40.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    if kind == "label map":  # its own affine takes the shift back
        affine = labels.affine.copy()
        affine[0, 3] -= 40
        setAffine(node, affine)
    scene.RemoveNode(source)
    return node, tissues


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmentation", "label map"])
def test_the_anatomy_of_a_segmentation_or_label_map(service, scene, anatomyModel, kind):
    node, tissues = tissueMap(scene, service, anatomyModel, kind)
    segmentation = painted(scene, grid="ras")
    if kind == "segmentation":  # under the same transform, so at the same place
        segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    choice = {"anatomy": Anatomy.SEGMENTATION, "anatomySource": node, "massEffect": 0.0}
    _, facts = completed(service, segmentation, anatomyModel, **choice)
    assert facts["map"] is None
    found = composeLabels(segmentation, SCHEME).data
    rest = found > 4
    assert (found[rest] == tissues[rest]).mean() > 0.7
    by_seed = painted(scene, "By seed", "ras")
    completed(service, by_seed, anatomyModel, massEffect=0.0)
    assert (composeLabels(by_seed, SCHEME).data[rest] == tissues[rest]).mean() > 0.95, "the seed that it was made with"


def test_a_segmentation_without_tissues_is_refused(service, scene, anatomyModel):
    segmentation, other = painted(scene), painted(scene, "Other")
    (told,) = completed(service, segmentation, anatomyModel, anatomy=Anatomy.SEGMENTATION, anatomySource=other)
    assert "No segment of 'Other' is a tissue (Cerebrospinal fluid, Ventricles" in told
    assert leftovers(service) == []


@pytest.mark.slow
def test_a_batch_takes_the_anatomy_for_all_masks(service, scene, anatomyModel, tmp_path):
    node, tissues = tissueMap(scene, service, anatomyModel, "label map")
    folder, out = tmp_path / "masks", tmp_path / "out"
    folder.mkdir()
    for grid in ("lps", "ras"):
        saveVolume(phantom(grid), folder / f"{grid}.nrrd")
    wanted = options(anatomyModel, steps=1, anatomy=Anatomy.SEGMENTATION, mass_effect=0.0)
    batch = service.runBatch(folder, out, wanted, SynthInputs(None, anatomySource=node))
    service.waitFor(batch, SECONDS)
    assert [row.state for row in batch.rows] == [State.DONE] * 2, [row.message for row in batch.rows]
    for name in ("lps", "ras"):
        record = json.loads((out / name / "provenance.json").read_text(encoding="utf-8"))
        assert record["samples"][0]["anatomy"]["map"] is None and record["anatomy"]["mass_effect"] == 0
        assert (out / name / f"{name}_sample-01_anatomy.nii.gz").is_file()
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(out / "ras" / "ras_sample-01_anatomy.nii.gz")).T
    assert (found[found > 4] == tissues[found > 4]).mean() > 0.7, "in the place where the label map is in the world"
    assert leftovers(service) == [] and len(list(folder.iterdir())) == 2


def scan(scene, modalities=("T1", "FLAIR")):
    """Volumes of a real scan under a transform of their own."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(1, 3, 25.0)
    transform.SetMatrixTransformToParent(matrix)
    shape, affine = GEOMETRIES["lps"]
    nodes = {}
    for number, name in enumerate(modalities):
        data = np.full(shape, 100 + number, np.int16)
        nodes[name] = volumeNodeFromArray(scene, name, data, affine)
        nodes[name].SetAndObserveTransformNodeID(transform.GetID())
    return nodes


def test_the_reference_goes_with_the_request_in_the_place_of_the_mask(service, scene, anatomyModel):
    segmentation = painted(scene)
    inputs = SynthInputs(segmentation, referenceScan={**scan(scene), "PD": segmentation})
    wanted = options(anatomyModel, anatomy=Anatomy.REFERENCE, contrast=Contrast.REFERENCE, mass_effect=0.25)
    run = service.generate(inputs, wanted)
    pollUntil(service, lambda: run.folder is not None)
    request = run.request
    assert (request["anatomy"], request["contrast"], request["mass_effect"]) == ("reference", "reference", 0.25)
    assert [entry.partition("=")[0] for entry in request["reference"]] == ["T1", "FLAIR"], "the model makes no PD"
    image = read_volume(request["reference"][1].partition("=")[2])
    expected = GEOMETRIES["lps"][1].copy()
    expected[1, 3] += 25
    np.testing.assert_allclose(image.affine, expected, atol=1e-3)
    assert (image.data == 101).all()
    run.cancel()
    service.waitFor(run, SECONDS)
    pollUntil(service, lambda: leftovers(service) == [], 20)


@pytest.mark.slow
def test_a_real_scan_that_is_edited_shows_its_own_anatomy(service, scene, anatomyModel):
    segmentation, source = painted(scene), painted(scene, "Source")
    completed(service, source, anatomyModel, massEffect=0.0)
    labels = composeLabels(source, SCHEME)
    means = np.array([0, 250, 650, 600, 500, 100, 100, 500, 550, 750, 500, 700])  # of the labels, as the model has them
    image = (means[labels.data] + np.random.default_rng(0).normal(0, 8, labels.shape) * (labels.data > 0)).clip(0)
    volumes = {m: volumeNodeFromArray(scene, m, image.astype(np.float32), labels.affine) for m in ("T1", "FLAIR")}
    choice = {"knownVolumes": {m: node.GetID() for m, node in volumes.items()}, "originalSegmentation": None}
    _, facts = completed(service, segmentation, anatomyModel, editRealScan=True, **choice)
    assert facts["mass_effect"] == 0, "what the tumor did is there already"
    found = composeLabels(segmentation, SCHEME).data
    white = (found == 9, labels.data == 9)
    assert 2 * np.count_nonzero(white[0] & white[1]) / (white[0].sum() + white[1].sum()) > 0.6


def test_choices_of_the_parameter_node(service, scene, anatomyModel, modelFolder):
    told, plain = (service.library.describe(str(folder)) for folder in (anatomyModel, modelFolder))
    volumes = {name: node.GetID() for name, node in scan(scene).items()}
    node = parameters(
        **{"segmentation": painted(scene), "anatomy": Anatomy.REFERENCE, "contrast": Contrast.MEAN, "massEffect": 0.3},
        **{"knownVolumes": volumes, "anatomySource": None, "originalSegmentation": None},
    )
    wanted = optionsOf(node, told)
    assert (wanted.anatomy, wanted.contrast, wanted.mass_effect) == (Anatomy.REFERENCE, Contrast.MEAN, 0.3)
    assert list(inputsOf(node, wanted).referenceScan) == ["T1", "FLAIR"]
    node.editRealScan = True
    inputs = inputsOf(node, wanted)
    assert inputs.referenceScan == {} and list(inputs.knownVolumes) == ["T1", "FLAIR"]
    node.editRealScan = False
    wanted = optionsOf(node, plain)
    assert (wanted.anatomy, wanted.contrast) == (Anatomy.SEED, Contrast.SEED), "the other model is told no tissues"
    assert inputsOf(node, wanted).referenceScan == {}


def test_what_is_missing_is_said(service, scene, anatomyModel, modelFolder):
    told, plain = (service.library.describe(str(folder)) for folder in (anatomyModel, modelFolder))
    segmentation = painted(scene)
    inputs = SynthInputs(segmentation)
    assert untold(told) is None and "no anatomy or contrast to choose" in untold(plain)
    assert missingForAnatomy(told, inputs, SynthOptions()) is None
    for choice in ({"anatomy": Anatomy.REFERENCE}, {"contrast": Contrast.REFERENCE}):
        assert "T1 or FLAIR" in missingForAnatomy(told, inputs, SynthOptions(**choice))
        given = SynthInputs(segmentation, referenceScan=scan(scene))
        assert missingForAnatomy(told, given, SynthOptions(**choice)) is None
    wanted = SynthOptions(anatomy=Anatomy.SEGMENTATION)
    assert "Choose the segmentation" in missingForAnatomy(told, inputs, wanted)
    assert "mask itself" in missingForAnatomy(told, SynthInputs(segmentation, anatomySource=segmentation), wanted)
    with pytest.raises(InputError, match="no anatomy"):
        anatomyJob(inputs, SynthOptions(), plain, service.storage, service.jobs, print, print)
    key = str(anatomyModel)
    service.library.acknowledge(key)
    node = parameters(segmentation=segmentation, model=key, anatomy=Anatomy.SEGMENTATION, anatomySource=None)
    assert "Choose the segmentation" in service.blockedReason(node) == service.anatomyBlockedReason(node)
    node = parameters(segmentation=segmentation, model=str(modelFolder))
    service.library.acknowledge(str(modelFolder))
    assert service.blockedReason(node) is None and "no anatomy" in service.anatomyBlockedReason(node)


@pytest.mark.slow
def test_scripts(service, scene, anatomyModel, monkeypatch):
    monkeypatch.setattr(SynthService, "_instance", service)
    segmentation, node = painted(scene), painted(scene, "Source")
    common = {"model": str(anatomyModel), "steps": 1, "device": "cpu", "precision": "fp32"}
    volumes = SynthLogic().synthesize(segmentation, **common, massEffect=0.0, contrast="mean")
    (sample,) = samplesOf(segmentation)
    assert factsOf(sample, SAMPLE_ANATOMY)["mass_effect"] == 0 and list(sample.volumes) == volumes
    for wrong, words in (
        ({"anatomy": "loud"}, "'loud' is not one of seed, reference"),
        ({"contrast": "loud"}, "one of seed, mean, reference"),
        ({"anatomy": "reference"}, "referenceScan"),
        ({"contrast": "reference"}, "referenceScan"),
        ({"anatomy": None}, "node itself"),
        ({"frames": 3, "samples": 2}, "growth series"),
    ):
        with pytest.raises(InputError, match=words):
            SynthLogic().synthesize(segmentation, **common, **wrong)
    with pytest.raises(MedDDPMError, match="No segment of 'Source' is a tissue"):
        SynthLogic().synthesize(segmentation, **common, anatomy=node)
