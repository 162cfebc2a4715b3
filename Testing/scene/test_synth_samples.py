"""Samples in the scene: statistics over them, comparison in linked views. No worker is needed."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from MedDDPMSlicerLib.Nodes import (  # noqa: E402
    SliceLayers,
    displayGray,
    folderFor,
    hierarchyOf,
    isSynthetic,
    markSynthetic,
    parentOf,
    putUnder,
    segmentationOf,
    showInSlices,
)
from MedDDPMSlicerLib.Views import compositeNode, showSideBySide  # noqa: E402
from MedDDPMSlicerLib.Volumes import affineOf, volumeOf  # noqa: E402
from MedDDPMSynthLib.Results import (  # noqa: E402
    caseItem,
    modalitiesOf,
    samplesOf,
    setKept,
    statisticsTask,
)
from scene_phantoms import volumeNodeFromArray  # noqa: E402
from synth_phantoms import GEOMETRIES, painted  # noqa: E402
from waiting import runToEnd  # noqa: E402


@pytest.fixture
def segmentation(scene):
    node = painted(scene, grid="oblique")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def addSample(scene, segmentation, number, modalities=("T1", "FLAIR"), shape=None):
    """A sample of random intensities, as an import leaves it."""
    generator = np.random.default_rng(number)
    shape = shape or GEOMETRIES["oblique"][0]
    item = folderFor(f"Sample {number:02d}", caseItem(segmentation))
    for modality in modalities:
        data = generator.integers(0, 1000, shape).astype(np.int16)
        node = volumeNodeFromArray(scene, f"{modality} {number}", data, GEOMETRIES["oblique"][1])
        node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
        markSynthetic(node, segmentation, {"modality": modality, "sample": number, "seed": 10 + number})
        displayGray(node, 0, 1000)
        putUnder(node, item)


def statistics(samples, modality):
    """The mean and variability nodes, or the sentence of the error."""
    results: list = []
    task = statisticsTask(samples, modality, lambda mean, deviation: results.extend((mean, deviation)), results.append)
    runToEnd(task)
    return results


def test_mean_and_variability(scene, segmentation, monkeypatch):
    from MedDDPMSynthLib import Results

    monkeypatch.setattr(Results, "NUMBERS_AT_ONCE", 5000)  # many slabs
    for number in (1, 2, 3, 4):
        addSample(scene, segmentation, number)
    samples = samplesOf(segmentation)
    setKept(samples[1], False)
    samples = samplesOf(segmentation)
    mean, deviation = statistics(samples, "FLAIR")
    stack = np.stack([volumeOf(s.volume("FLAIR")).data for s in samples if s.kept]).astype(np.float64)
    assert stack.shape[0] == 3
    np.testing.assert_allclose(volumeOf(mean).data, stack.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(volumeOf(deviation).data, stack.std(axis=0), atol=1e-3)
    for node in (mean, deviation):
        np.testing.assert_allclose(affineOf(node), affineOf(samples[0].volumes[0]))
        assert node.GetTransformNodeID() == segmentation.GetTransformNodeID()
        assert isSynthetic(node) and segmentationOf(node) is segmentation
        assert hierarchyOf().GetItemParent(parentOf(node)) == caseItem(segmentation)
    assert mean.GetName() == "FLAIR mean of 3 – Case (synthetic)"
    assert deviation.GetName() == "FLAIR variability of 3 (SD) – Case (synthetic)"
    assert deviation.GetDisplayNode().GetWindowLevelMin() == 0
    assert len(samplesOf(segmentation)) == 4, "statistics are no samples"


def test_statistics_that_make_no_sense(scene, segmentation):
    addSample(scene, segmentation, 1)
    (sentence,) = statistics(samplesOf(segmentation), "T1")
    assert "at least two" in sentence
    addSample(scene, segmentation, 2, shape=(5, 6, 7))
    (sentence,) = statistics(samplesOf(segmentation), "T1")
    assert "different grids" in sentence
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 4


def test_samples_side_by_side(scene, segmentation):
    for number in range(1, 6):
        addSample(scene, segmentation, number)
    samples = samplesOf(segmentation)
    assert modalitiesOf(samples) == ["T1", "FLAIR"]
    volumes = {str(sample.number): sample.volume("FLAIR") for sample in samples}
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    showSideBySide(volumes, layout)
    views = ET.fromstring(layout.GetCurrentLayoutDescription()).findall(".//view")
    properties = [{p.get("name"): p.text for p in view.findall("property")} for view in views]
    assert {p["orientation"] for p in properties} == {"Axial"}
    assert [p["viewlabel"] for p in properties] == ["1", "2", "3", "4", "5"]
    assert len({p["viewgroup"] for p in properties}) == 1, "one group, so that linking moves all of them"
    for view, volume in zip(views, volumes.values(), strict=True):
        composite = compositeNode(view.get("singletontag"))
        assert composite.GetBackgroundVolumeID() == volume.GetID() and composite.GetLinkedControl()
    # the same number of views again, with others in them, and titles that are no XML
    showSideBySide({f"<{name}> & more": samples[0].volume("T1") for name in volumes}, layout)
    assert compositeNode("MedDDPM1").GetBackgroundVolumeID() == samples[0].volume("T1").GetID()
    assert len(ET.fromstring(layout.GetCurrentLayoutDescription()).findall(".//view")) == 5


def test_slice_views_get_back_what_they_showed(scene, segmentation):
    addSample(scene, segmentation, 1)
    first, second = samplesOf(segmentation)[0].volumes
    red, green = (scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2))
    red.SetBackgroundVolumeID(first.GetID())
    compare = compositeNode("MedDDPM1")
    layers = SliceLayers()
    showInSlices(second)
    assert red.GetBackgroundVolumeID() == green.GetBackgroundVolumeID() == second.GetID()
    assert compare.GetBackgroundVolumeID() is None, "comparisons stay as they are"
    layers.restore(instead=second.GetID())
    assert red.GetBackgroundVolumeID() == first.GetID() and green.GetBackgroundVolumeID() is None
    third = volumeNodeFromArray(scene, "third", np.zeros((4, 5, 6), np.int16), np.eye(4))
    showInSlices(second)
    red.SetBackgroundVolumeID(third.GetID())  # the user's own choice meanwhile stays
    layers.restore(instead=second.GetID())
    assert red.GetBackgroundVolumeID() == third.GetID() and green.GetBackgroundVolumeID() is None
