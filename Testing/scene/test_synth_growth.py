"""A growth series: one job, sequences that play, and what is left of one that does not end well."""

from __future__ import annotations

import time

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError  # noqa: E402
from medddpm.geometry.volume import Volume  # noqa: E402
from medddpm.jobs.events import State  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib.Nodes import (  # noqa: E402
    hierarchyOf,
    isSynthetic,
    nodesUnder,
    parentOf,
    provenanceOf,
    segmentationOf,
)
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels  # noqa: E402
from MedDDPMSlicerLib.Volumes import volumeOf  # noqa: E402
from MedDDPMSynthLib import Growth  # noqa: E402
from MedDDPMSynthLib.Import import ImportPlan, undoImport  # noqa: E402
from MedDDPMSynthLib.Options import SynthInputs  # noqa: E402
from MedDDPMSynthLib.Results import samplesOf  # noqa: E402
from synth_helpers import SECONDS, endWorkers, leftovers, newService, options, pollUntil  # noqa: E402
from synth_phantoms import CENTER, GEOMETRIES, labelsAt, painted, positions  # noqa: E402
from test_synth_batch import crash  # noqa: E402
from test_synth_tools import parameters  # noqa: E402

SCHEME = load_scheme("glioma-anatomy")


def series(service, segmentation, model, **changes):
    """A growth series of three frames that has ended well."""
    run = service.generate(SynthInputs(segmentation), options(model, frames=3, **changes))
    service.waitFor(run, SECONDS)
    run.raiseFailure()
    return run


def browserOf(scene):
    """The browser that plays the series, and its sequences by the beginning of their names."""
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    found = scene.GetNodesByClass("vtkMRMLSequenceNode")
    found.UnRegister(None)
    nodes = [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]
    return browser, {node.GetName().split()[0]: node for node in nodes}


@pytest.mark.slow
def test_the_tumor_grows_while_the_sequence_plays(service, scene, anatomyModel):
    segmentation = painted(scene, grid="oblique")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    red = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    stages = []
    run = service.generate(SynthInputs(segmentation), options(anatomyModel, frames=3, showPreview=True))
    run.observers.append(lambda r: stages.append(r.doing))
    service.waitFor(run, SECONDS)
    run.raiseFailure()
    assert any("of 3" in stage for stage in stages) and "3 frames" in run.message
    assert len(run.warnings) == len(set(run.warnings)) and not any("frame-" in text for text in run.warnings)
    browser, sequences = browserOf(scene)
    assert list(sequences) == ["T1", "FLAIR", "Mask"]
    assert all(node.GetNumberOfDataNodes() == 3 and node.GetIndexName() == "frame" for node in sequences.values())
    image, mask = (browser.GetProxyNode(sequences[name]) for name in ("T1", "Mask"))
    assert run.volumes == [browser.GetProxyNode(sequences[name]) for name in ("T1", "FLAIR")]
    assert red.GetBackgroundVolumeID() == image.GetID()
    frames, tumors = [], []
    for number in range(3):
        browser.SetSelectedItemNumber(number)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        frames.append(volumeOf(image).data.astype(int))
        tumors.append(np.isin(composeLabels(mask, SCHEME).data, (1, 2, 3)).sum())
        assert image.GetTransformNodeID() == mask.GetTransformNodeID() == transform.GetID()
        assert segmentationOf(image) is segmentation and isSynthetic(image)
        np.testing.assert_allclose(volumeOf(image).affine, GEOMETRIES["oblique"][1], atol=1e-3)
    assert tumors == sorted(tumors) and tumors[0] < tumors[2] / 10
    assert (frames[0] != frames[2]).any()
    given = composeLabels(segmentation, SCHEME)
    assert tumors[2] == np.isin(given.data, (1, 2, 3)).sum(), "the last is the mask itself"
    display = image.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1000)
    assert not mask.GetDisplayNode().GetVisibility() and segmentation.GetDisplayNode().GetVisibility()
    assert provenanceOf(image)["sample_anatomy"]["map"] and image.GetAttribute("MedDDPM.seed") == "7"
    tree, item = hierarchyOf(), parentOf(image)
    assert tree.GetItemName(item) == "Growth series (seed 7)" and set(nodesUnder(item)) == {*run.volumes, mask}
    assert samplesOf(segmentation) == [], "a series is no sample"


def test_models_without_tissues_have_series_too(service, scene, modelFolder):
    run = series(service, painted(scene), modelFolder, modalities=("FLAIR",))
    _, sequences = browserOf(scene)
    assert list(sequences) == ["FLAIR", "Mask"] and len(run.volumes) == 1


def test_a_series_that_is_cancelled_leaves_nothing(service, scene, modelFolder):
    segmentation = painted(scene)
    nodes = scene.GetNumberOfNodes()
    run = service.generate(SynthInputs(segmentation), options(modelFolder, frames=5, sampler="ddpm", steps=100))
    pollUntil(service, lambda: (run.step or 0) > 0)
    run.cancel()
    service.waitFor(run, SECONDS)
    assert run.state is State.CANCELLED and scene.GetNumberOfNodes() == nodes
    pollUntil(service, lambda: leftovers(service) == [], 10)


def test_an_import_that_ends_early_leaves_nothing(service, scene, modelFolder):
    segmentation = painted(scene)
    run = series(service, segmentation, modelFolder)
    outputs, model = run.folder.outputs, service.library.describe(str(modelFolder))
    nodes = scene.GetNumberOfNodes()
    steps = list(Growth.importSeries(ImportPlan(segmentation, model, outputs, "all", "Case")))
    for stop in (1, len(steps) // 2, len(steps) - 1):
        before = scene.GetNumberOfNodes()
        plan = ImportPlan(segmentation, model, outputs, f"stopped {stop}", "Case")
        importing = Growth.importSeries(plan)
        for _ in range(stop):
            next(importing)
        importing.close()
        undoImport(plan)
        assert scene.GetNumberOfNodes() == before > nodes
    (outputs / "frame-002" / "provenance.json").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        list(Growth.importSeries(ImportPlan(segmentation, model, outputs, "damaged", "Case")))


def test_what_stands_in_the_way_of_a_series(service, scene, modelFolder):
    service.library.acknowledge(str(modelFolder))
    node = parameters(segmentation=painted(scene), model=str(modelFolder), seed=5, samples=3)
    assert service.seriesBlockedReason(node) is None
    run = service.start(node, frames=2)
    assert run.options.frames == 2 and run.options.samples == 1 and node.seed == 6
    with pytest.raises(InputError, match="running"):
        service.start(node, frames=2)
    run.cancel()
    service.waitFor(run, SECONDS)
    node.editRealScan = True
    assert "whole images" in service.seriesBlockedReason(node)


@pytest.mark.slow
def test_no_step_holds_up_the_gui(service, scene, anatomyModel):
    """No call of poll takes 100 ms: anatomy as segments, results with their anatomy, a series; voxels of 1 mm."""
    shape = (160, 192, 155)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = np.array(CENTER) - np.array(shape) / 2
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Large")
    segmentation.CreateDefaultDisplayNodes()
    applyLabels(segmentation, SCHEME, Volume(labelsAt(positions(shape, affine)), affine))
    service.library.acknowledge(str(anatomyModel))
    slowest = {"anatomy": 0.0, "run": 0.0, "series": 0.0}

    def polled(name, ended):
        while not ended():
            start = time.process_time()
            service.poll()
            slowest[name] = max(slowest[name], time.process_time() - start)
            time.sleep(0.005)

    told = []
    order = parameters(segmentation=segmentation, model=str(anatomyModel), seed=1)
    service.completeAnatomy(order, told.append, told.append)
    polled("anatomy", lambda: bool(told))
    for name, frames in (("run", 1), ("series", 2)):
        run = service.generate(SynthInputs(segmentation), options(anatomyModel, steps=1, frames=frames))
        polled(name, lambda run=run: run.finished)
        run.raiseFailure()
    print({name: round(seconds * 1000) for name, seconds in slowest.items()})
    assert max(slowest.values()) < 0.1, slowest


@pytest.mark.slow
@pytest.mark.processes
def test_an_interrupted_series_is_offered_again(scene, workerPython, modelFolder, tmp_path):
    root = tmp_path / "own"
    before = newService(root, workerPython)
    wanted = options(modelFolder, frames=2, sampler="ddpm", steps=40, modalities=("T1",))
    run = before.generate(SynthInputs(painted(scene)), wanted)
    pollUntil(before, lambda: (run.step or 0) > 2)
    crash(before)
    scene.Clear(0)
    service = newService(root, workerPython)
    (job,) = service.recovery.found()
    assert job.title.startswith("Case: growth series") and not job.finished
    again = service.recovery.resume(job)
    service.waitFor(again, SECONDS)
    again.raiseFailure()
    _, sequences = browserOf(scene)
    assert sequences["T1"].GetNumberOfDataNodes() == 2 and service.recovery.found() == []
    service.shutdown()
    pollUntil(service, lambda: leftovers(service) == [], 10)
    endWorkers(root)
