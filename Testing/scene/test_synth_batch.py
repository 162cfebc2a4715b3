"""Batches, automatic updates and jobs of an earlier session, with a real worker and a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError  # noqa: E402
from medddpm.jobs import spool as spools  # noqa: E402
from medddpm.jobs.events import State  # noqa: E402
from medddpm.jobs.process import process_alive  # noqa: E402
from MedDDPMSlicerLib.SegmentVoxels import labelmapOf  # noqa: E402
from MedDDPMSlicerLib.Volumes import saveVolume, volumeOf  # noqa: E402
from MedDDPMSynthLib.Options import SynthInputs  # noqa: E402
from MedDDPMSynthLib.Results import samplesOf, setKept  # noqa: E402
from synth_helpers import (  # noqa: E402
    SECONDS,
    endWorkers,
    generated,
    leftovers,
    lentService,
    newService,
    options,
    pollUntil,
)
from synth_phantoms import painted, phantom  # noqa: E402


@pytest.fixture
def masks(scene, tmp_path):
    """A folder of two good masks, in names that are not plain ASCII, and a bad one between them."""
    folder = tmp_path / "Fälle 1"
    folder.mkdir()
    saveVolume(phantom("lps"), folder / "a case.nrrd")
    (folder / "bad.nrrd").write_bytes(b"NRRD0004\ntype: nonsense\n\n")
    saveVolume(phantom("oblique"), folder / "ending.nrrd")
    return folder


@pytest.mark.slow
def test_a_bad_case_does_not_stop_the_others(service, masks, modelFolder, tmp_path):
    out = tmp_path / "results"
    told = []
    batch = service.runBatch(masks, out, options(modelFolder, samples=2, modalities=("FLAIR",)))
    for row in batch.rows:
        row.observers.append(lambda r: told.append(r.state))
    assert [row.name for row in batch.rows] == ["a case", "bad", "ending"] and not batch.finished
    with pytest.raises(InputError, match="running already"):
        service.runBatch(masks, out, options(modelFolder))
    service.waitFor(batch, SECONDS)
    assert [row.state for row in batch.rows] == [State.DONE, State.FAILED, State.DONE]
    assert batch.rows[1].message.startswith("bad.nrrd ") and batch.message == "2 of 3 cases done, 1 failed."
    assert str(masks) not in batch.rows[1].message and batch.rows[1].item.place == str(masks / "bad.nrrd")
    assert batch.progress == 1.0 and str(masks / "bad.nrrd") in batch.rows[1].details()
    for name in ("a case", "ending"):
        record = json.loads((out / name / "provenance.json").read_text(encoding="utf-8"))
        files = [file for sample in record["samples"] for file in sample["files"]]
        assert len(record["samples"]) == 2 and all((out / name / file).is_file() for file in files)
        assert all(file.endswith((".nii.gz", ".png")) for file in files)
    assert not (out / "bad").exists()
    assert {State.PREPARING, State.RUNNING, State.IMPORTING} <= set(told)
    assert leftovers(service) == []
    assert sorted(p.name for p in masks.iterdir()) == ["a case.nrrd", "bad.nrrd", "ending.nrrd"], "inputs stay"


def test_the_brain_comes_from_the_image_of_the_same_case(service, scene, modelFolder, tmp_path):
    """Masks of a tumor only, named as in BraTS: with an image its brain is taken, without one it is invented."""
    source = tmp_path / "source"
    brain = phantom("lps")
    tumor = type(brain)(np.where(brain.data == 4, 0, brain.data).astype(np.uint8), brain.affine)
    stripped = type(brain)(((brain.data > 0) * (300 + 40 * brain.data.astype(np.int16))), brain.affine)
    for case in ("with", "without"):
        (source / case).mkdir(parents=True)
        saveVolume(tumor, source / case / f"{case}_seg.nrrd")
    for name in ("t1", "flair"):
        saveVolume(stripped, source / "with" / f"with_{name}.nrrd")

    service.batchTable.look(source)
    service.startTimer()
    pollUntil(service, lambda: not service.batchTable.busy)
    first, second = service.batchTable.listed.items
    assert service.batchTable.listed.sentence == "2 masks found, 1 with an image." and not service.batchTable.problem
    assert [*first.images] == ["T1", "FLAIR"] and first.image == source / "with" / "with_t1.nrrd"
    assert second.image is None and second.source.name == "without_seg.nrrd"

    batch = service.runBatch(service.batchTable.used, tmp_path / "out", options(modelFolder, modalities=("T1",)))
    service.waitFor(batch, SECONDS)
    assert [(row.name, row.status) for row in batch.rows] == [("with", "done"), ("without", "brain invented")]
    assert batch.message == "2 of 2 cases done (1 with an invented brain)."
    assert "not this patient's" in batch.rows[1].message
    mask = next((tmp_path / "out" / "with").glob("*_mask.nii.gz"))
    used = sitk.GetArrayFromImage(sitk.ReadImage(str(mask))).transpose()
    assert ((used > 0) == (brain.data > 0)).mean() > 0.99
    assert batch.rows[0].sheet is not None and batch.rows[0].sheet.is_file()

    first.image = source / "with" / "gone.nrrd"
    first.used, second.used = True, False
    batch = service.runBatch(service.batchTable.used, tmp_path / "out", options(modelFolder))
    service.waitFor(batch, SECONDS)
    assert [row.state for row in batch.rows] == [State.FAILED] and "gone.nrrd" in batch.rows[0].message


def test_a_folder_whose_names_tell_nothing(service, scene, masks):
    service.batchTable.look(masks)
    service.startTimer()
    pollUntil(service, lambda: not service.batchTable.busy)
    assert [item.name for item in service.batchTable.listed.items] == ["a case", "bad", "ending"]
    assert "each is taken for a mask" in service.batchTable.listed.sentence
    service.batchTable.look(masks / "nowhere")
    pollUntil(service, lambda: not service.batchTable.busy)
    assert "cannot be read" in service.batchTable.blockedReason()


def test_cancelled_batch(service, masks, modelFolder, tmp_path):
    batch = service.runBatch(masks, tmp_path / "out", options(modelFolder, sampler="ddpm", steps=250, samples=5))
    pollUntil(service, lambda: batch.rows[0].progress)
    batch.cancel()
    service.waitFor(batch, SECONDS)
    states = [row.state for row in batch.rows]
    assert states[0] is State.CANCELLED and states[2] is State.CANCELLED
    pollUntil(service, lambda: leftovers(service) == [], 10)


def test_impossible_batches(service, masks, modelFolder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no mask"):
        service.runBatch(empty, tmp_path / "out", options(modelFolder))
    with pytest.raises(InputError, match="gone"):
        service.runBatch(tmp_path / "gone", tmp_path / "out", options(modelFolder))
    with pytest.raises(InputError, match="cannot be written"):
        service.runBatch(masks, masks / "bad.nrrd", options(modelFolder))
    with pytest.raises(InputError, match="no T9"):
        service.runBatch(masks, tmp_path / "out", options(modelFolder, modalities=("T9",)))
    assert service.batch is None


def test_batch_of_a_sequence(service, scene, modelFolder, tmp_path):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Growth")
    good = painted(scene, "now")
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    for number, node in enumerate((good, empty)):
        sequence.SetDataNodeAtValue(node, str(number))
    batch = service.runBatch(sequence, tmp_path / "out", options(modelFolder))
    service.waitFor(batch, SECONDS)
    assert [(row.name, row.state) for row in batch.rows] == [
        ("Growth_1", State.DONE),
        ("Growth_2", State.FAILED),
    ]
    assert (tmp_path / "out" / "Growth_1" / "Growth_1_sample-01_T1.nii.gz").is_file()
    assert "segment" in batch.rows[1].message
    assert leftovers(service) == []


def change(segmentation) -> None:
    """What painting does to a segmentation: it tells of changed voxels."""
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    labelmapOf(segmentation.GetSegmentation().GetSegment(ids[0])).Modified()
    segmentation.GetSegmentation().InvokeEvent(segmentation.GetSegmentation().SourceRepresentationModified)


@pytest.mark.slow
@pytest.mark.processes
def test_automatic_update(scene, root, workerPython, modelFolder):
    now = [0.0]
    lender = lentService(root, workerPython, clock=lambda: now[0])
    service = next(lender)
    segmentation = painted(scene)
    wanted = {"steps": 2}
    service.autoUpdate.observe(
        segmentation, lambda: (SynthInputs(segmentation), options(modelFolder, modalities=("T1",), **wanted))
    )
    service.poll()
    assert service.autoUpdate.run is None, "nothing has changed yet"
    change(segmentation)
    now[0] = 1.0
    service.poll()
    assert service.autoUpdate.run is None, "the hand does not rest yet"
    now[0] = 3.0
    service.poll()
    first = service.autoUpdate.run
    assert first is not None and first.automatic and service.run is None
    service.waitFor(first, SECONDS)
    assert [s.automatic for s in samplesOf(segmentation)] == [True]

    # a change during an automatic generation begins it anew
    wanted.update(sampler="ddpm", steps=250, samples=20)
    change(segmentation)
    service.poll()
    now[0] = 6.0
    service.poll()
    second = service.autoUpdate.run
    pollUntil(service, lambda: (second.step or 0) > 0)
    wanted.update(steps=2, samples=1)
    change(segmentation)
    service.poll()
    now[0] = 9.0
    pollUntil(service, lambda: service.autoUpdate.run is not second)
    third = service.autoUpdate.run
    service.waitFor(third, SECONDS)
    assert second.state is State.CANCELLED and third.state is State.DONE
    (sample,) = samplesOf(segmentation)
    assert sample.volumes == tuple(third.volumes), "the newest replaces the former"
    setKept(sample, True)

    # the user's own generation is left alone, and the update waits for it
    manual = service.generate(SynthInputs(segmentation), options(modelFolder, sampler="ddpm", steps=40))
    change(segmentation)
    service.poll()
    now[0] = 12.0
    pollUntil(service, lambda: (manual.step or 0) > 0)
    assert service.autoUpdate.run is third
    service.waitFor(manual, SECONDS)
    assert manual.state is State.DONE
    pollUntil(service, lambda: service.autoUpdate.run is not third)
    service.waitFor(service.autoUpdate.run, SECONDS)
    assert [s.automatic for s in samplesOf(segmentation)] == [False, False, True], "what was kept stays"

    service.autoUpdate.observe(None)
    change(segmentation)
    now[0] = 20.0
    last = service.autoUpdate.run
    service.poll()
    assert service.autoUpdate.run is last
    next(lender, None)


def crash(service) -> None:
    """As if Slicer had crashed: its worker dies, and nobody tidies up."""
    owner = spools.lock(service.jobs.spool).living_owner()
    os.kill(owner.pid, signal.SIGKILL)
    while process_alive(owner.pid, owner.token):
        time.sleep(0.01)
    service.detach()


@pytest.mark.slow
@pytest.mark.processes
def test_interrupted_job_is_offered_again(scene, workerPython, modelFolder, tmp_path):
    root = tmp_path / "own"
    before = newService(root, workerPython)
    segmentation = painted(scene)
    run = before.generate(
        SynthInputs(segmentation), options(modelFolder, sampler="ddpm", steps=40, seed=5, modalities=("T1",))
    )
    pollUntil(before, lambda: (run.step or 0) > 2)
    crash(before)
    scene.Clear(0)

    service = newService(root, workerPython)
    (job,) = service.recovery.found()
    assert job.title.startswith("Case: 1 sample") and not job.finished
    again = service.recovery.resume(job)
    service.waitFor(again, SECONDS)
    again.raiseFailure()
    assert again.inputs.segmentation.GetName() == "Case", "made from the job's own mask"
    (sample,) = samplesOf(again.inputs.segmentation)
    assert sample.seed == 5 and [v.GetName() for v in sample.volumes] == ["T1 01 – Case (synthetic)"]
    assert service.recovery.found() == [], "it is in the scene now"
    service.shutdown()
    pollUntil(service, lambda: leftovers(service) == [], 10)
    endWorkers(root)


@pytest.mark.processes
def test_finished_results_are_still_there(scene, workerPython, modelFolder, tmp_path):
    root = tmp_path / "own"
    before = newService(root, workerPython)
    segmentation = painted(scene)
    run = generated(before, segmentation, modelFolder)
    crash(before)
    images = [volumeOf(volume).data.copy() for volume in run.volumes]
    scene.Clear(0)
    segmentation = painted(scene)
    service = newService(root, workerPython)
    jobs = service.recovery.found()
    assert [job.finished for job in jobs] == [True]
    again = service.recovery.resume(jobs[0], segmentation)
    service.waitFor(again, SECONDS)
    assert again.state is State.DONE and len(again.volumes) == 2
    for volume, image in zip(again.volumes, images, strict=True):
        np.testing.assert_array_equal(volumeOf(volume).data, image)
    service.closeScene()
    assert service.recovery.found() == [] and leftovers(service) == []
    service.detach()
    endWorkers(root)


@pytest.mark.slow
@pytest.mark.processes
def test_discarding_what_was_left(scene, workerPython, modelFolder, masks, tmp_path):
    root = tmp_path / "own"
    before = newService(root, workerPython)
    out = tmp_path / "out"
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(masks / "ending.nrrd", one)
    batch = before.runBatch(one, out, options(modelFolder, sampler="ddpm", steps=40))
    pollUntil(before, lambda: batch.rows[0].progress)
    crash(before)
    service = newService(root, workerPython)
    (job,) = service.recovery.found()
    resumed = service.recovery.resume(job)
    service.waitFor(resumed, SECONDS)
    assert resumed.rows[0].state is State.DONE
    assert (out / "ending" / "provenance.json").is_file(), "a case of a batch goes where it was to go"
    generated(service, painted(scene), modelFolder)
    crash(service)
    scene.Clear(0)
    last = newService(root, workerPython)
    (job,) = last.recovery.found()
    last.recovery.discard(job)
    assert last.recovery.found() == [] and leftovers(last) == []
    last.detach()
    assert (one / "ending.nrrd").is_file()
    endWorkers(root)
