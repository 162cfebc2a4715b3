"""Preparing a dataset from the module: done, cancelled, gone on with, interrupted by the end of Slicer."""

from __future__ import annotations

import os
import time

import pytest
from patience import patient

slicer = pytest.importorskip("slicer")
pytest.importorskip("nibabel")

from medddpm.errors import InputError, MedDDPMError  # noqa: E402
from medddpm.jobs.events import State  # noqa: E402
from medddpm.jobs.process import process_alive  # noqa: E402
from MedDDPMTrainingLib.Orders import datasetSentence  # noqa: E402
from MedDDPMTrainingLib.TrainingLogic import TrainingLogic  # noqa: E402
from MedDDPMTrainingLib.TrainingService import TrainingService  # noqa: E402
from training_helpers import parameters, pollUntil, requirePackages  # noqa: E402

from source_phantoms import write_head  # noqa: E402  # isort: skip - its folder is found by training_helpers

CASES = ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000", "BraTS-GLI-00003-000")


@pytest.fixture(scope="module")
def source(tmp_path_factory, workerPython):
    """Three small cases, read only."""
    requirePackages(workerPython, "nibabel", "safetensors", "PIL")
    folder = tmp_path_factory.mktemp("scans")
    for number, case in enumerate(CASES):
        write_head(folder, case, number)
    return folder


@pytest.fixture
def node(source, tmp_path):
    return parameters(sourceFolder=str(source), datasetFolder=str(tmp_path / "dataset"), validation=0.34)


def prepared(service, node):
    preparation = service.prepare(node)
    pollUntil(service, lambda: preparation.finished)
    return preparation


def someCasesDone(preparation):
    return preparation.stage == "prepare" and preparation.step


def waitForEnd(worker):
    """Until neither a worker nor what it has started is there any more; fails where something is left behind."""
    group, end = worker._process.pid, time.monotonic() + patient(10)
    while worker.alive() or groupLives(group):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.02)


def groupLives(group):
    """Whether any process of a process group is there (on Windows: whether its first one is)."""
    if os.name != "posix":
        return process_alive(group)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_scans_become_a_dataset(trainingService, node):
    stages, steps = set(), []
    preparation = trainingService.prepare(node)
    preparation.observers.append(lambda p: (stages.add(p.state), steps.append((p.step, p.total))))
    assert "running" in trainingService.blockedReason("prepare", node)
    with pytest.raises(InputError, match="running already"):
        trainingService.startPreparation({})
    pollUntil(trainingService, lambda: preparation.finished)
    assert preparation.state is State.DONE, preparation.message
    pollUntil(trainingService, lambda: State.DONE in stages, 5)
    assert State.RUNNING in stages and any(total for _, total in steps)
    assert preparation.result.cases == 3 and preparation.result.report.is_file()
    assert "3 cases are prepared" in preparation.message
    sentence = datasetSentence(node.datasetFolder)
    assert "3 cases" in sentence and "1 validation" in sentence and "T1, T2" in sentence
    assert not [path for path in trainingService.preparationJobs.spool.iterdir() if path.is_dir()]


def test_what_is_wrong_is_said_in_a_sentence(trainingService, node, source, tmp_path):
    damaged = tmp_path / "scans"
    write_head(damaged, CASES[0], 0)
    image = damaged / CASES[0] / f"{CASES[0]}_t1.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    node.sourceFolder = str(damaged)
    preparation = prepared(trainingService, node)
    assert preparation.state is State.FAILED and image.name in preparation.message
    assert "Traceback" not in preparation.message
    with pytest.raises(MedDDPMError, match=image.name):
        preparation.raiseFailure()
    write_head(damaged, CASES[0], 0)
    preparation = trainingService.startPreparation(preparation.request)
    pollUntil(trainingService, lambda: preparation.finished)
    assert preparation.state is State.DONE, preparation.message


def test_a_cancelled_preparation_goes_on_where_it_was(trainingService, node, tmp_path):
    preparation = trainingService.prepare(node)
    pollUntil(trainingService, lambda: someCasesDone(preparation) or preparation.finished)
    preparation.cancel()
    pollUntil(trainingService, lambda: preparation.finished)
    assert preparation.state is State.CANCELLED
    done = [path.with_suffix(".safetensors") for path in (tmp_path / "dataset" / "cases").glob("*.json")]
    kept = {path: path.stat().st_mtime_ns for path in done}
    assert kept, "what was computed stays"
    preparation = trainingService.startPreparation(preparation.request)
    pollUntil(trainingService, lambda: preparation.finished)
    assert preparation.state is State.DONE
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items()), "and is not computed again"


@pytest.mark.slow
def test_the_end_of_slicer_interrupts_and_the_next_session_offers_it_again(makeTrainingService, node):
    first = makeTrainingService()
    preparation = first.prepare(node)
    pollUntil(first, lambda: someCasesDone(preparation) or preparation.finished)
    first.shutdown(keepJobs=True)
    waitForEnd(first.preparationJobs._worker)
    second = makeTrainingService()
    offered = second.preparation
    assert offered.state is State.INTERRUPTED and "Resume" in offered.message
    assert offered.request["source"] == node.sourceFolder
    again = second.startPreparation(offered.request)
    pollUntil(second, lambda: again.finished)
    assert again.state is State.DONE
    second.shutdown()
    waitForEnd(second.preparationJobs._worker)


def test_scripts_prepare_too(trainingService, source, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingService, "_instance", trainingService)
    ended = []
    preparation = TrainingLogic().prepare(
        source,
        tmp_path / "dataset",
        grid="24x32x24:8:LPS",
        validation=0.0,
        test=0.0,
        onFinished=ended.append,
        waitForCompletion=True,
    )
    assert ended == [preparation] and preparation.result.dataset == tmp_path / "dataset"
    with pytest.raises(InputError, match="grids"):
        TrainingLogic().prepare(source, tmp_path / "other", grids="demo-2mm")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasetFolder": ""}, "Choose a folder for the prepared dataset"),
        ({"sourceFolder": "/does/not/exist"}, "does not exist"),
        ({"register": "template"}, "image that the scans are registered to"),
    ],
)
def test_why_nothing_can_be_prepared(trainingService, node, changes, words):
    for name, value in changes.items():
        setattr(node, name, value)
    assert words in trainingService.blockedReason("prepare", node)
    with pytest.raises(InputError, match=words):
        trainingService.prepare(node)


def test_the_scans_are_never_overwritten(trainingService, node):
    node.datasetFolder = node.sourceFolder
    assert "not the folder of the scans" in trainingService.blockedReason("prepare", node)
    assert trainingService.blockedReason("prepare", None) == "The scene is closing."


def test_a_choice_that_does_not_fit_is_named(trainingService, node):
    node.labels = "1:1"
    with pytest.raises(InputError, match="1:1"):
        trainingService.prepare(node)
