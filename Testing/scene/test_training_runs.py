"""The list of runs: found, remembered, forgotten, deleted, and what can be done with each."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

import pytest

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError  # noqa: E402
from medddpm.jobs.folder import State  # noqa: E402
from medddpm.jobs.owner import STALE_SECONDS, Owner  # noqa: E402
from MedDDPMSlicerLib.Background import SlicedTask  # noqa: E402
from MedDDPMSlicerLib.Models import ModelLibrary  # noqa: E402
from MedDDPMSlicerLib.Settings import MemorySettings  # noqa: E402
from MedDDPMSlicerLib.Storage import Storage  # noqa: E402
from MedDDPMTrainingLib.HandOver import handOver, openSynth  # noqa: E402
from MedDDPMTrainingLib.RunControl import runBlockedReason  # noqa: E402
from MedDDPMTrainingLib.RunDeletion import deleteRun, deletionQuestion  # noqa: E402
from MedDDPMTrainingLib.RunPlaces import RunPlaces  # noqa: E402
from MedDDPMTrainingLib.Runs import Runs, message, progressWords, stateWords  # noqa: E402
from training_helpers import newRun, pollUntil, tinyConfig, trained  # noqa: E402


@pytest.fixture
def settings():
    return MemorySettings()


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def listed(settings, home):
    """The summaries of a session that has looked once."""
    runs = Runs(RunPlaces(settings, home))
    runs.tick()
    while runs._task is not None:
        runs.tick()
    return {summary.path: summary for summary in runs.summaries}


def addModel(run):
    """A model as a training leaves it: here only its description is needed."""
    demo = ModelLibrary(run.path, MemorySettings()).describe("demo").path
    run.model.mkdir(parents=True)
    shutil.copy(demo / "config.json", run.model / "config.json")


# --- finding --------------------------------------------------------------------------------------------------------


def test_runs_are_found_again_by_the_next_session(settings, home, tmp_path):
    own = trained(newRun(home / "own"), 50, "paused")
    shared = tmp_path / "shared disk"
    far = trained(newRun(shared / "group" / "far"), 100)
    elsewhere = newRun(tmp_path / "elsewhere")
    places = RunPlaces(settings, home)
    places.addRoot(shared)
    places.remember(elsewhere.path)
    found = listed(settings, home)
    assert set(found) == {own.path, far.path, elsewhere.path}
    assert [found[r.path].state for r in (own, far, elsewhere)] == [State.PAUSED, State.DONE, State.PENDING]
    assert found[own.path].iteration == 50 and found[own.path].total == 100


def test_a_folder_of_runs_can_be_a_run_and_a_lost_disk_is_no_error(settings, home, tmp_path):
    run = newRun(tmp_path / "alone")
    places = RunPlaces(settings, home)
    places.addRoot(run.path)
    assert set(listed(settings, home)) == {run.path}
    shutil.rmtree(run.path)
    assert not listed(settings, home)
    places.removeRoot(run.path)
    assert places.roots() == [home]
    with pytest.raises(InputError, match="does not exist"):
        places.addRoot(tmp_path / "none")


def test_a_forgotten_run_stays_where_it_is_and_can_be_added_again(settings, home, tmp_path):
    inside, outside = newRun(home / "inside"), newRun(tmp_path / "outside")
    places = RunPlaces(settings, home)
    places.remember(outside.path)
    for run in (inside, outside):
        places.forget(run.path)
    assert not listed(settings, home) and inside.submitted and outside.submitted
    for run in (inside, outside):
        places.remember(run.path)
    assert set(listed(settings, home)) == {inside.path, outside.path}


def test_what_is_no_run_is_not_remembered(settings, home, tmp_path):
    with pytest.raises(InputError, match=r"no job\.json"):
        RunPlaces(settings, home).remember(tmp_path)


def test_the_list_shows_a_damaged_run_with_its_problem(settings, home):
    run = trained(newRun(home / "bad"), 30)
    (run.path / "job.json").write_text("{")
    summary = listed(settings, home)[run.path]
    assert stateWords(summary) == "damaged" and "job.json" in message(summary)
    assert runBlockedReason("resume", summary) and runBlockedReason("delete", summary) is None


def test_what_is_said_of_a_run_in_the_storage_holds_no_path_of_it(settings, tmp_path):
    storage = Storage(tmp_path / "Somebody" / "MedDDPM")
    run = trained(newRun(storage.root / "runs" / "bad"), 30)
    (run.path / "job.json").write_text("{")
    summary = listed(settings, storage.root / "runs")[run.path]
    for sentence in (message(summary), runBlockedReason("resume", summary), runBlockedReason("extend", summary)):
        assert "Somebody" in summary.problem and "Somebody" not in sentence and "job.json" in sentence


def test_the_last_active_run_comes_first(settings, home):
    for name, age in (("old", 100.0), ("new", 1.0)):
        run = trained(newRun(home / name), 20)
        events = run.path / "events.jsonl"
        lines = [json.loads(line) for line in events.read_text().splitlines()]
        events.write_text("".join(json.dumps({**line, "time": time.time() - age}) + "\n" for line in lines))
    assert [path.name for path in listed(settings, home)] == ["new", "old"]


def test_observers_hear_of_changes_only(settings, home):
    run = trained(newRun(home / "run"), 20, None)
    clock = [0.0]
    runs = Runs(RunPlaces(settings, home), lambda: clock[0])
    heard = []
    runs.observers.append(lambda r: heard.append([s.iteration for s in r.summaries]))

    def goOn(seconds):
        clock[0] += seconds
        for _ in range(20):
            runs.tick()

    goOn(0.0)
    goOn(5.0)
    assert heard == [[20]]
    run.metrics.append("train", 30, loss=0.1)
    goOn(5.0)
    assert heard == [[20], [30]]
    runs.forget(run.path)
    goOn(20.0)
    assert heard[-1] == []


def test_words_for_people(home):
    run = trained(newRun(home / "run"), 30, None)
    owner = Owner(1, None, "elsewhere")
    (run.path / "claim.json").write_text(json.dumps(owner.__dict__))
    running = run.summary()
    assert stateWords(running) == "running" and progressWords(running) == "30 of 100 – about 7 s left"

    old = time.time() - STALE_SECONDS - 5
    os.utime(run.path / "claim.json", (old, old))
    lost = run.summary()
    assert stateWords(lost) == "interrupted" and "Resume" in message(lost)
    assert progressWords(lost) == "30 of 100"


# --- what can be done -----------------------------------------------------------------------------------------------

ALL = ("pause", "stop", "resume", "extend", "use", "forget", "delete")


@pytest.mark.parametrize(
    ("end", "possible"),
    [
        (None, {"pause", "stop", "forget"}),
        ("paused", {"resume", "extend", "forget", "delete"}),
        ("cancelled", {"resume", "extend", "forget", "delete"}),
        ("failed", {"resume", "extend", "forget", "delete"}),
        ("done", {"extend", "forget", "delete"}),
    ],
)
def test_buttons_say_why_they_are_disabled(home, end, possible):
    run = newRun(home / "run")
    if end is None:
        run.begin()
    trained(run, 20, end)
    summary = run.summary()
    reasons = {action: runBlockedReason(action, summary) for action in ALL}
    assert {action for action, reason in reasons.items() if reason is None} == possible
    assert all(reason.endswith(".") for reason in reasons.values() if reason)
    assert runBlockedReason("pause", None) == "Choose a training in the list first."
    assert "starting" in runBlockedReason("pause", summary, starting=True)


def test_requests_reach_the_folder(makeTrainingService, home):
    service = makeTrainingService()
    run = newRun(home / "run")
    run.begin()
    service.runs.add(run.path)
    service.control.pause(run.path)
    assert run.pause_requested and service.control.ending(run.path) == "pausing"
    service.control.stop(run.path)
    assert run.cancel_requested and service.control.ending(run.path) == "stopping"
    with pytest.raises(InputError, match="hands of process"):
        service.control.resume(run.path)
    with pytest.raises(InputError, match="1 or more"):
        service.control.extend(run.path, 0)
    with pytest.raises(InputError, match="Choose a training"):
        service.control.pause("")
    service.shutdown()
    assert run.state() is State.RUNNING, "the end of Slicer ends no training"


def test_a_model_goes_to_synth(settings, home, tmp_path):
    run = trained(newRun(home / "run"), 50, "paused")
    library = ModelLibrary(tmp_path / "models", settings)
    with pytest.raises(InputError, match="no model yet"):
        handOver(run.summary(), library)
    addModel(run)
    assert runBlockedReason("use", run.summary()) is None
    key = handOver(run.summary(), library)
    other = ModelLibrary(tmp_path / "models", settings)  # that of the other module
    assert key in dict(other.entries()) and other.lastUsed == key
    assert other.describe(key).path == run.model


def test_synth_is_opened_where_it_is_there(application, monkeypatch):
    opened, node = [], type("Node", (), {"model": "demo"})()
    logic = type("Logic", (), {"parameterNode": lambda self: node})()
    assert openSynth("key") is False
    monkeypatch.setattr(slicer.modules, "medddpmsynth", type("M", (), {"logic": lambda self: logic})(), raising=False)
    monkeypatch.setattr(slicer, "util", type("U", (), {"selectModule": staticmethod(opened.append)}), raising=False)
    assert openSynth("key") is True and opened == ["MedDDPMSynth"] and node.model == "key"


def test_a_process_that_cannot_begin_says_why(makeTrainingService, tmp_path):
    python = [sys.executable, "-c", "import sys; sys.exit('Error: torch is not installed here.')"]
    service = makeTrainingService(python)
    folder = service.startTraining(tmp_path / "run", tinyConfig())
    assert service.control.starting(folder)
    pollUntil(service, lambda: not service.control.starting(folder))
    assert service.control.problems[folder].endswith("before it began. torch is not installed here.")
    assert "torch is not installed" in service.control.details(folder)
    assert service.runBlockedReason("resume", folder) is None
    with pytest.raises(InputError, match="training already"):
        service.startTraining(folder, tinyConfig())


def test_an_interpreter_that_is_gone_is_told(makeTrainingService, tmp_path):
    service = makeTrainingService(str(tmp_path / "python"))
    with pytest.raises(InputError, match="could not be started"):
        service.startTraining(tmp_path / "run", tinyConfig())
    assert service.runs.find(tmp_path / "run") is not None, "the run is there, to be started again"


# --- deleting -------------------------------------------------------------------------------------------------------


def deleted(path):
    said = []
    task = SlicedTask(deleteRun(path), said.append, said.append)
    task.runToEnd()
    return said[0]


def test_deleting_removes_what_the_training_wrote(home, tmp_path):
    run = trained(newRun(home / "run"), 50)
    addModel(run)
    (run.checkpoints).mkdir()
    (run.checkpoints / "step-00000050.pt").write_bytes(b"x" * 3_000_000)
    (run.samples / "iteration-00000050" / "c1").mkdir(parents=True)
    question = deletionQuestion(run.summary())
    assert "3 MB" in question and "MedDDPM Synth" in question and "dataset stays" in question
    assert deleted(run.path) == "The run was deleted." and not run.path.exists()


def test_files_of_others_and_what_links_lead_to_are_kept(home, tmp_path):
    run = trained(newRun(home / "run"), 50)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data.txt").write_text("mine")
    (run.path / "notes.txt").write_text("mine, too")
    run.checkpoints.symlink_to(precious)
    (run.samples / "iteration-1").mkdir(parents=True)
    (run.samples / "iteration-1" / "link").symlink_to(precious)
    said = deleted(run.path)
    assert "notes.txt" in said and (run.path / "notes.txt").read_text() == "mine, too"
    assert (precious / "data.txt").read_text() == "mine"
    assert sorted(path.name for path in run.path.iterdir()) == ["notes.txt"]


def test_a_running_training_is_not_deleted(home):
    run = newRun(home / "run")
    run.begin()
    assert "hands of process" in str(deleted(run.path))
    assert run.submitted


def test_the_service_deletes_and_forgets(makeTrainingService):
    service = makeTrainingService()
    run = trained(newRun(service.storage.runs / "run"), 50)
    pollUntil(service, lambda: service.runs.find(run.path))
    service.view.observe(run.path)
    said = []
    service.deleteRun(run.path, said.append)
    pollUntil(service, lambda: said)
    assert said == ["The run was deleted."] and service.runs.summaries == [] and service.view.path is None
    service.deleteRun(run.path, onError=said.append)
    pollUntil(service, lambda: len(said) > 1)
    assert "not the folder of a training" in said[1]
