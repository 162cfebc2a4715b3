"""A generation from segmentation to volumes, with a real worker and a tiny model."""

from __future__ import annotations

import gc
import json
import shutil

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer")

from medddpm.jobs.events import State  # noqa: E402
from MedDDPMSlicerLib.Nodes import (  # noqa: E402
    hierarchyOf,
    isSynthetic,
    itemOf,
    parentOf,
    provenanceOf,
    segmentationOf,
)
from MedDDPMSlicerLib.Volumes import (  # noqa: E402
    affineOf,
    openPlainNifti,
    volumeOf,
)
from MedDDPMSynthLib.Options import SynthInputs  # noqa: E402
from MedDDPMSynthLib.Results import discardSample, samplesOf, setKept  # noqa: E402
from synth_helpers import (  # noqa: E402
    SECONDS,
    generated,
    leftovers,
    options,
    pollUntil,
)
from synth_phantoms import GEOMETRIES, painted, phantom  # noqa: E402


def volumeCount(scene) -> int:
    return scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")


@pytest.mark.slow(but="ras")
@pytest.mark.parametrize("grid", GEOMETRIES)
def test_results_lie_on_the_grid_of_the_mask(service, scene, modelFolder, grid):
    segmentation = painted(scene, grid=grid)
    run = generated(service, segmentation, modelFolder)
    shape, affine = GEOMETRIES[grid]
    inside = phantom(grid).data > 0
    assert not any("read as given" in text for text in run.warnings), "the segments say what they are"
    assert [v.GetName() for v in run.volumes] == [
        "T1 01 – Case (synthetic)",
        "FLAIR 01 – Case (synthetic)",
    ]
    for volume in run.volumes:
        data = volumeOf(volume)
        assert data.shape == shape
        np.testing.assert_allclose(data.affine, affine, atol=1e-4)
        assert data.data[inside].std() > 0, "the network's image is inside the brain"
        assert data.data.min() >= 0 and data.data.max() <= 1000
    (written,) = run.folder.outputs.glob("*/*T1.nii")
    np.testing.assert_array_equal(volumeOf(run.volumes[0]).data.T, openPlainNifti(written).voxels)


def test_states_names_and_provenance(service, scene, modelFolder):
    segmentation = painted(scene)
    seen = []
    run = service.generate(SynthInputs(segmentation), options(modelFolder, samples=2, seed=40))
    run.observers.append(lambda r: seen.append(r.state))
    assert run.state is State.PREPARING
    service.waitFor(run, SECONDS)
    assert run.state is State.DONE, run.message
    order = list(dict.fromkeys(seen))
    assert order == [State.PREPARING, State.PENDING, State.RUNNING, State.IMPORTING, State.DONE]
    assert run.progress == 1.0 and run.message == "2 samples are ready."
    volume = run.volumes[2]
    assert volume.GetName() == "T1 02 – Case (synthetic)"
    attributes = {n: volume.GetAttribute(f"MedDDPM.{n}") for n in ("synthetic", "model", "seed", "steps", "modality")}
    assert attributes == {"synthetic": "1", "model": "tiny", "seed": "41", "steps": "2", "modality": "T1"}
    assert len(volume.GetAttribute("MedDDPM.modelSha256")) == 64
    assert provenanceOf(volume)["statement"].startswith("SYNTHETIC")
    assert segmentationOf(volume) is segmentation
    display = volume.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax(), display.GetAutoWindowLevel()) == (0, 1000, 0)
    tree = hierarchyOf()
    item = parentOf(volume)
    assert tree.GetItemName(item) == "Sample 02 (seed 41)"
    assert tree.GetItemName(tree.GetItemParent(item)) == "Case – synthetic"
    assert run.resultItem == tree.GetItemParent(item)
    assert tree.GetItemParent(run.resultItem) == tree.GetItemParent(itemOf(segmentation))


def test_results_follow_the_transform_of_the_mask(service, scene, modelFolder):
    segmentation = painted(scene)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    run = generated(service, segmentation, modelFolder, modalities=("FLAIR",))
    assert [v.GetParentTransformNode() for v in run.volumes] == [transform]
    np.testing.assert_allclose(affineOf(run.volumes[0]), GEOMETRIES["lps"][1], atol=1e-4)


def test_the_modality_that_is_shown_stays_shown(service, scene, modelFolder):
    segmentation = painted(scene)
    red = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    first = generated(service, segmentation, modelFolder)
    assert red.GetBackgroundVolumeID() == first.volumes[0].GetID()
    red.SetBackgroundVolumeID(first.volumes[1].GetID())
    second = generated(service, segmentation, modelFolder)
    assert red.GetBackgroundVolumeID() == second.volumes[1].GetID()
    one = generated(service, segmentation, modelFolder, modalities=("T1",))
    assert red.GetBackgroundVolumeID() == one.volumes[0].GetID()


def test_finished_runs_keep_no_voxels_alive(service, scene, modelFolder):
    run = generated(service, painted(scene), modelFolder)
    image = vtk.vtkWeakReference()
    image.Set(run.volumes[0].GetImageData())
    assert image.Get() is not None
    scene.Clear(0)
    gc.collect()
    assert image.Get() is None and run.volumes == []


def test_keep_and_discard(service, scene, modelFolder):
    segmentation = painted(scene)
    run = generated(service, segmentation, modelFolder, samples=2)
    again = generated(service, segmentation, modelFolder, seed=90)
    samples = samplesOf(segmentation)
    assert [(s.number, s.seed, s.kept) for s in samples] == [(1, 7, True), (2, 8, True), (3, 90, True)]
    setKept(samples[0], False)
    assert [s.kept for s in samplesOf(segmentation)] == [False, True, True]
    first, second = run.folder.path, again.folder.path
    assert first.is_dir() and second.is_dir()
    discardSample(samples[2], service.jobs)
    assert not second.exists() and first.is_dir() and volumeCount(scene) == 4
    discardSample(samples[0], service.jobs)
    assert first.is_dir(), "its other sample is still there"
    discardSample(samples[1], service.jobs)
    assert not first.exists() and volumeCount(scene) == 0 and not samplesOf(segmentation)
    tree = hierarchyOf()
    assert not tree.GetItemByName("Case – synthetic"), "no empty folder stays"
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeDisplayNode") == 0
    assert leftovers(service) == []


def test_two_segmentations_at_once_do_not_mix(service, scene, modelFolder):
    one, two = painted(scene, "One", "lps"), painted(scene, "Two", "oblique")
    runs = [service.generate(SynthInputs(s), options(modelFolder, modalities=("T1",))) for s in (one, two)]
    assert service.activeRun(one) is runs[0] and service.activeRun(two) is runs[1]
    for run in runs:
        service.waitFor(run, SECONDS)
    for segmentation, run, grid in ((one, runs[0], "lps"), (two, runs[1], "oblique")):
        (sample,) = samplesOf(segmentation)
        assert list(sample.volumes) == run.volumes
        assert volumeOf(sample.volumes[0]).shape == GEOMETRIES[grid][0]
        assert f"– {segmentation.GetName()} (" in sample.volumes[0].GetName()
    tree = hierarchyOf()
    assert tree.GetItemByName("One – synthetic") and tree.GetItemByName("Two – synthetic")


@pytest.mark.slow
def test_results_survive_saving_and_loading_the_scene(service, scene, modelFolder, tmp_path, application):
    segmentation = painted(scene)
    run = generated(service, segmentation, modelFolder)
    before = [volumeOf(v).data.copy() for v in run.volumes]
    for number, node in enumerate([segmentation, *run.volumes]):
        storage = node.GetStorageNode() or (node.AddDefaultStorageNode() and None) or node.GetStorageNode()
        storage.SetFileName(str(tmp_path / f"node{number}{'.seg' if number == 0 else ''}.nrrd"))
        assert storage.WriteData(node)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    pollUntil(service, lambda: not run.folder.path.exists())  # saved: the job is no longer needed
    scene.Clear(0)
    assert volumeCount(scene) == 0
    assert scene.Connect()
    loaded = scene.GetFirstNodeByName("Case")
    (sample,) = samplesOf(loaded)
    assert [v.GetName() for v in sample.volumes] == [
        "T1 01 – Case (synthetic)",
        "FLAIR 01 – Case (synthetic)",
    ]
    for volume, data in zip(sample.volumes, before, strict=True):
        np.testing.assert_array_equal(volumeOf(volume).data, data)
        np.testing.assert_allclose(affineOf(volume), GEOMETRIES["lps"][1], atol=1e-4)
        assert isSynthetic(volume) and provenanceOf(volume)["steps"] == 2
    tree = hierarchyOf()
    assert tree.GetItemName(sample.item) == "Sample 01 (seed 7)"
    # a further sample joins the others, after the segmentation got another name, too
    loaded.SetName("Renamed")
    more = generated(service, loaded, modelFolder, seed=50)
    assert [s.number for s in samplesOf(loaded)] == [1, 2]
    assert parentOf(more.volumes[0]) != sample.item
    assert tree.GetItemParent(parentOf(more.volumes[0])) == tree.GetItemParent(sample.item)


def test_compressed_results_of_another_program(service, scene, modelFolder, tmp_path):
    """A job folder that was computed elsewhere, with gzipped images, is imported all the same."""
    from MedDDPMSynthLib.Import import ImportPlan, importResults

    segmentation = painted(scene)
    run = generated(service, segmentation, modelFolder)
    nibabel = pytest.importorskip("nibabel")
    folder = tmp_path / "outputs"
    shutil.copytree(run.folder.outputs, folder)
    (case,) = folder.iterdir()
    for image in [*case.glob("*.nii"), *case.glob("model-grid/*.nii")]:
        nibabel.save(nibabel.load(image), image.with_name(image.name + ".gz"))
        image.unlink()
    record = json.loads((case / "provenance.json").read_text(encoding="utf-8"))
    text = json.dumps(record).replace('.nii"', '.nii.gz"')
    (case / "provenance.json").write_text(text, encoding="utf-8")
    plan = ImportPlan(segmentation, service.library.describe(str(modelFolder)), folder, "elsewhere", "Case")
    for _ in importResults(plan):
        pass
    assert len(plan.volumes) == 2
    for own, other in zip(run.volumes, plan.volumes, strict=True):
        np.testing.assert_array_equal(volumeOf(own).data, volumeOf(other).data)
        np.testing.assert_allclose(affineOf(own), affineOf(other), atol=1e-4)


def test_no_step_holds_up_the_gui(service, scene, modelFolder):
    """No call of poll takes 100 ms, also with a mask of 240 x 240 x 155 voxels and two images."""
    import time

    from medddpm.geometry.volume import Volume
    from medddpm.labels.scheme import load_scheme
    from MedDDPMSlicerLib.SegmentMasks import applyLabels
    from synth_phantoms import labelsAt, positions

    shape = (240, 240, 155)
    affine = np.diag([0.75, 0.8, 1.0, 1.0])
    affine[:3, 3] = np.array([5.0, -12.0, 20.0]) - affine[:3, :3] @ (np.array(shape) / 2)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Large")
    applyLabels(segmentation, load_scheme("brats"), Volume(labelsAt(positions(shape, affine)), affine))
    run = service.generate(SynthInputs(segmentation), options(modelFolder))
    slowest: dict[State, float] = {}
    while not run.finished:
        state, start = run.state, time.process_time()
        service.poll()
        slowest[state] = max(slowest.get(state, 0.0), time.process_time() - start)
        time.sleep(0.005)
    print({s.value: round(v * 1000) for s, v in slowest.items()})
    run.raiseFailure()
    assert max(slowest.values()) < 0.1, {s.value: v for s, v in slowest.items()}
