"""What goes wrong during a generation: a plain sentence, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError, MedDDPMError  # noqa: E402
from medddpm.jobs import spool as spools  # noqa: E402
from medddpm.jobs.events import State  # noqa: E402
from MedDDPMSlicerLib import Background  # noqa: E402
from MedDDPMSlicerLib.Nodes import hierarchyOf  # noqa: E402
from MedDDPMSlicerLib.Volumes import affineOf, volumeOf  # noqa: E402
from MedDDPMSynthLib.Options import SynthInputs  # noqa: E402
from MedDDPMSynthLib.SynthLogic import SynthLogic  # noqa: E402
from MedDDPMSynthLib.SynthService import SynthService  # noqa: E402
from synth_helpers import (  # noqa: E402
    SECONDS,
    generated,
    leftovers,
    newService,
    options,
    pollUntil,
)
from synth_phantoms import CENTER, painted  # noqa: E402


@pytest.fixture
def segmentation(scene):
    return painted(scene)


def longRun(service, segmentation, model, **changes):
    """A generation of many steps that is at its sampling."""
    run = service.generate(SynthInputs(segmentation), options(model, **{"sampler": "ddpm", "steps": 250, **changes}))
    pollUntil(service, lambda: run.finished or (run.step or 0) > 3)
    assert run.state is State.RUNNING, run.message
    return run


def assertNothingLeft(service, scene):
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeDisplayNode") == 0
    assert not hierarchyOf().GetItemByName("Case – synthetic")
    assert leftovers(service) == []


@pytest.mark.processes
def test_cancel_while_sampling(service, scene, segmentation, modelFolder):
    red = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    former = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "former")
    red.SetBackgroundVolumeID(former.GetID())
    run = longRun(service, segmentation, modelFolder, samples=4)
    pollUntil(service, lambda: run._preview is not None and run._preview.node is not None)
    preview = run._preview.node
    assert red.GetBackgroundVolumeID() == preview.GetID() and preview.GetName() == "T1 preview – Case (synthetic)"
    data = volumeOf(preview).data
    assert data.shape == (16, 24, 16) and 0 <= data.min() < data.max() <= 1000
    center = affineOf(preview) @ [7.5, 11.5, 7.5, 1]
    assert np.abs(center[:3] - CENTER).max() < 20, "the model's grid lies around the brain"
    step = run.step
    run.cancel()
    run.cancel()
    assert run.state in (State.CANCELLING, State.CANCELLED)
    service.waitFor(run, SECONDS)
    assert run.state is State.CANCELLED and run.folder is not None and run.volumes == []
    assert run.step is not None and run.step < step + 100, "it did not run to its end"
    assert red.GetBackgroundVolumeID() == former.GetID()
    scene.RemoveNode(former)
    assertNothingLeft(service, scene)
    assert generated(service, segmentation, modelFolder).volumes, "the next one runs"


@pytest.mark.slow
def test_cancel_while_preparing_and_importing(service, scene, segmentation, modelFolder, monkeypatch):
    run = service.generate(SynthInputs(segmentation), options(modelFolder))
    run.cancel()
    assert run.state is State.CANCELLED
    assertNothingLeft(service, scene)

    monkeypatch.setattr(Background, "SLICE_SECONDS", 0.0)  # one step at a time
    run = service.generate(SynthInputs(segmentation), options(modelFolder, samples=3))
    pollUntil(service, lambda: scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") > 1)
    assert run.state is State.IMPORTING and not run.finished
    run.cancel()
    service.waitFor(run, SECONDS)
    assert run.state is State.CANCELLED
    assertNothingLeft(service, scene)


@pytest.mark.processes
def test_worker_killed(service, scene, segmentation, modelFolder):
    run = longRun(service, segmentation, modelFolder)
    owner = spools.lock(service.jobs.spool).living_owner()
    os.kill(owner.pid, signal.SIGKILL)
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED
    assert run.message.startswith("The background process") and "/" not in run.message
    assert "stage" in run.details()
    with pytest.raises(MedDDPMError, match="background process"):
        run.raiseFailure()
    assertNothingLeft(service, scene)
    assert generated(service, segmentation, modelFolder).volumes, "a new process is started"


def test_model_vanished(service, scene, segmentation, modelFolder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(modelFolder, model)
    first = longRun(service, segmentation, modelFolder)
    second = service.generate(SynthInputs(segmentation), options(model))
    pollUntil(service, lambda: second.folder is not None)
    shutil.rmtree(model)
    first.cancel()
    service.waitFor(second, SECONDS)
    assert second.state is State.FAILED and str(model) in second.message
    third = service.generate(SynthInputs(segmentation), options(model))
    service.waitFor(third, SECONDS)
    assert third.state is State.FAILED and str(model) in third.message and third.folder is None
    assertNothingLeft(service, scene)


def test_mask_that_cannot_be_used(service, scene, modelFolder):
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    run = service.generate(SynthInputs(empty), options(modelFolder))
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED and "segment" in run.message

    from medddpm.geometry.volume import Volume
    from medddpm.labels.scheme import load_scheme
    from MedDDPMSlicerLib.SegmentMasks import applyLabels
    from synth_phantoms import phantom

    small = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Small")
    whole = phantom()
    affine = whole.affine.copy()
    affine[:3] /= 10
    applyLabels(small, load_scheme("brats"), Volume(whole.data, affine))
    run = service.generate(SynthInputs(small), options(modelFolder))
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED
    assert run.message.startswith("The mask cannot be used.") and "centimeters" in run.message
    assert leftovers(service) == []


@pytest.mark.parametrize("changes", [{"modalities": ("T9",)}, {"steps": 251}])
def test_impossible_options(service, scene, segmentation, modelFolder, changes):
    run = service.generate(SynthInputs(segmentation), options(modelFolder, **changes))
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED and str(next(iter(changes.values()))).strip("(',)") in run.message
    assertNothingLeft(service, scene)


def test_a_value_out_of_range_is_refused_at_once(modelFolder):
    with pytest.raises(InputError, match="The option steps is 0"):
        options(modelFolder, steps=0)


def test_damaged_result(service, scene, segmentation, modelFolder):
    run = service.generate(SynthInputs(segmentation), options(modelFolder))

    def damage(r):
        if r.state is State.IMPORTING:
            for image in r.folder.outputs.glob("*/*FLAIR.nii*"):
                image.write_bytes(image.read_bytes()[:400])

    run.observers.append(damage)
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED and run.message.endswith("Generate it again.")
    assert "/" not in run.message
    assertNothingLeft(service, scene)


def assertPlain(sentence, service):
    """It says nothing of places that only we use, and what to do about them."""
    assert str(service.storage.root) not in sentence and "/" not in sentence and ".nii" not in sentence, sentence
    assert "Delete temporary files" in sentence


# What a full disk does: no file becomes larger than this, in KiB. The small files of a job are below it.
SMALL_FILES_ONLY = 'ulimit -f 6; exec "$0" "$@"'


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_full_disk_of_the_worker(scene, segmentation, modelFolder, workerPython, tmp_path):
    service = newService(tmp_path / "storage of x", ["bash", "-c", SMALL_FILES_ONLY, workerPython])
    run = service.generate(SynthInputs(segmentation), options(modelFolder))
    service.waitFor(run, SECONDS)
    assert run.state is State.FAILED
    assertPlain(run.message, service)
    assert str(service.storage.root) in run.details(), "whoever looks for the cause finds the file"
    assertNothingLeft(service, scene)
    service.shutdown()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_full_disk_of_slicer(service, scene, segmentation, modelFolder):
    import resource

    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        run = service.generate(SynthInputs(segmentation), options(modelFolder))
        service.waitFor(run, SECONDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert run.state is State.FAILED and run.folder is None
    assertPlain(run.message, service)
    assertNothingLeft(service, scene)


def test_scene_closed_and_segmentation_removed(service, scene, segmentation, modelFolder):
    run = longRun(service, segmentation, modelFolder)
    scene.RemoveNode(segmentation)
    service.waitFor(run, SECONDS)
    assert run.state is State.CANCELLED and "removed" in run.message
    again = painted(scene)
    run = longRun(service, again, modelFolder)
    scene.Clear(0)
    service.waitFor(run, SECONDS)
    assert run.state is State.CANCELLED
    assert leftovers(service) == []
    later = painted(scene)
    done = generated(service, later, modelFolder)
    assert done.folder.path.is_dir()
    scene.Clear(0)
    assert leftovers(service) == [], "the results went with their scene"


@pytest.mark.slow
@pytest.mark.processes
def test_shutdown_leaves_no_process(scene, modelFolder, workerPython, tmp_path):
    service = newService(tmp_path / "own", workerPython)
    run = longRun(service, painted(scene), modelFolder)
    owner = spools.lock(service.jobs.spool).living_owner()
    service.shutdown()
    pollUntil(service, lambda: run.finished and not service.jobs.active)
    from medddpm.jobs.process import process_alive

    pollUntil(service, lambda: not process_alive(owner.pid, owner.token), 20)
    assert run.state is State.CANCELLED and leftovers(service) == []


def test_scripts(service, scene, segmentation, modelFolder, monkeypatch):
    monkeypatch.setattr(SynthService, "_instance", service)
    logic = SynthLogic()
    ended = []
    volumes = logic.synthesize(segmentation, str(modelFolder), steps=2, device="cpu", onFinished=ended.append)
    assert len(volumes) == 2 and [run.volumes for run in ended] == [volumes]
    with pytest.raises(MedDDPMError, match="does not exist"):
        logic.synthesize(segmentation, "no-such-model")
    for wrong in ({"segmentationNode": None}, {"segmentationNode": segmentation, "samples": 0}):
        with pytest.raises(InputError):
            logic.synthesize(**wrong)
    with pytest.raises(InputError, match="originalSegmentation"):
        logic.synthesize(segmentation, knownVolumes={"T1": volumes[0]})
