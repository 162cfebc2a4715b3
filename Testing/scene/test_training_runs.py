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
from MedDDPMSlicerLib.Storage import Settings, Storage  # noqa: E402
from MedDDPMTrainingLib.Run import TrainingRun  # noqa: E402
from MedDDPMTrainingLib.Runs import Runs  # noqa: E402
from training_helpers import newRun, pollUntil, tinyConfig, trained  # noqa: E402
from waiting import runToEnd  # noqa: E402


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def looked(runs):
    """A list that has gone through all places."""
    runs.refresh()
    runs.tick()
    while runs._rounds._task is not None:
        runs.tick()
    return runs


def listed(settings, home):
    """The runs of a session that has looked once."""
    return {run.folder: run for run in looked(Runs(settings, home)).runs}


def addModel(run):
    """A model as a training leaves it: here only its description is needed."""
    demo = ModelLibrary(run.path, Settings()).describe("demo").path
    run.model.mkdir(parents=True)
    shutil.copy(demo / "config.json", run.model / "config.json")


# --- finding --------------------------------------------------------------------------------------------------------


def test_runs_are_found_again_by_the_next_session(settings, home, tmp_path):
    own = trained(newRun(home / "own"), 50, "paused")
    shared = tmp_path / "shared disk"
    far = trained(newRun(shared / "group" / "far"), 100)
    elsewhere = newRun(tmp_path / "elsewhere")
    runs = Runs(settings, home)
    runs.addRoot(shared)
    runs.add(elsewhere.path)
    found = {path: run.summary for path, run in listed(settings, home).items()}
    assert set(found) == {own.path, far.path, elsewhere.path}
    assert [found[r.path].state for r in (own, far, elsewhere)] == [State.PAUSED, State.DONE, State.PENDING]
    assert found[own.path].iteration == 50 and found[own.path].total == 100


def test_a_folder_of_runs_can_be_a_run_and_a_lost_disk_is_no_error(settings, home, tmp_path):
    run = newRun(tmp_path / "alone")
    places = Runs(settings, home)
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
    places = Runs(settings, home)
    places.add(outside.path)
    for run in (inside, outside):
        places.forget(run.path)
    assert not listed(settings, home) and inside.submitted and outside.submitted
    for run in (inside, outside):
        places.add(run.path)
    assert set(listed(settings, home)) == {inside.path, outside.path}


def test_what_is_no_run_is_not_remembered(settings, home, tmp_path):
    with pytest.raises(InputError, match=r"no job\.json"):
        Runs(settings, home).add(tmp_path)


def test_the_list_shows_a_damaged_run_with_its_problem(settings, home):
    run = trained(newRun(home / "bad"), 30)
    (run.path / "job.json").write_text("{")
    shown = listed(settings, home)[run.path]
    assert shown.state == "damaged" and "job.json" in shown.message
    assert shown.blockedReason("resume") and shown.blockedReason("delete") is None


def test_what_is_said_of_a_run_in_the_storage_holds_no_path_of_it(settings, tmp_path):
    storage = Storage(tmp_path / "Somebody" / "MedDDPM")
    run = trained(newRun(storage.root / "runs" / "bad"), 30)
    (run.path / "job.json").write_text("{")
    shown = listed(settings, storage.root / "runs")[run.path]
    for sentence in (shown.message, shown.blockedReason("resume"), shown.blockedReason("extend")):
        assert "Somebody" in shown.summary.problem and "Somebody" not in sentence and "job.json" in sentence


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
    runs = Runs(settings, home, clock=lambda: clock[0])
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
    shown = TrainingRun(run.path)
    assert shown.state == "running" and shown.progress == "Step 30 of 100 – about 7 s left"
    run.request_pause()
    assert shown.progress == "Pausing: the state is being written…"

    old = time.time() - STALE_SECONDS - 5
    os.utime(run.path / "claim.json", (old, old))
    shown.look()
    assert shown.state == "interrupted" and "Resume" in shown.message and shown.progress == "" and shown.finished


# --- what can be done -----------------------------------------------------------------------------------------------

ALL = ("pause", "stop", "resume", "extend", "use", "delete")


@pytest.mark.parametrize(
    ("end", "possible"),
    [
        (None, {"pause", "stop"}),
        ("paused", {"resume", "extend", "delete"}),
        ("cancelled", {"resume", "extend", "delete"}),
        ("failed", {"resume", "extend", "delete"}),
        ("done", {"extend", "delete"}),
    ],
)
def test_buttons_say_why_they_are_disabled(home, end, possible):
    run = newRun(home / "run")
    if end is None:
        run.begin()
    trained(run, 20, end)
    shown = TrainingRun(run.path)
    reasons = {action: shown.blockedReason(action) for action in ALL}
    assert {action for action, reason in reasons.items() if reason is None} == possible
    assert all(reason.endswith(".") for reason in reasons.values() if reason)


def test_requests_reach_the_folder(makeTrainingService, home):
    service = makeTrainingService()
    run = newRun(home / "run")
    run.begin()
    shown = service.runs.add(run.path)
    assert service.runBlockedReason("forget", run.path) is None
    assert service.runBlockedReason("pause", "") == "Choose a training in the list first."
    shown.pause()
    assert run.pause_requested and shown.ending == "pausing"
    shown.stop()
    assert run.cancel_requested and shown.ending == "stopping"
    with pytest.raises(InputError, match="process"):
        shown.resume()
    with pytest.raises(InputError, match="Choose a training"):
        service.runs.of("")
    service.shutdown()
    assert run.state() is State.RUNNING, "the end of Slicer ends no training"


def test_a_model_goes_to_synth(makeTrainingService, home):
    service = makeTrainingService()
    run = trained(newRun(home / "run"), 50, "paused")
    shown = service.runs.add(run.path)
    assert service.runBlockedReason("use", run.path)
    with pytest.raises(InputError, match="no model yet"):
        service.useInSynth(run.path)
    addModel(run)
    shown.look()
    assert service.runBlockedReason("use", run.path) is None
    key = service.useInSynth(run.path)
    other = ModelLibrary(service.storage.models, service.settings)  # that of the other module
    assert key in dict(other.entries()) and other.lastUsed == key
    assert other.describe(key).path == run.model


def test_a_process_that_cannot_begin_says_why(makeTrainingService, tmp_path):
    python = [sys.executable, "-c", "import sys; sys.exit('Error: torch is not installed here.')"]
    service = makeTrainingService(python)
    run = service.runs.begin(tmp_path / "run", tinyConfig())
    assert run.starting and "starting" in run.blockedReason("pause") and not run.finished
    pollUntil(service, lambda: not run.starting)
    assert run.message.endswith("before it began. torch is not installed here.") and run.finished
    assert "torch is not installed" in run.details()
    assert service.runBlockedReason("resume", run.folder) is None
    with pytest.raises(InputError, match="already holds a training"):
        service.runs.begin(run.folder, tinyConfig())


def test_an_interpreter_that_is_gone_is_told(makeTrainingService, tmp_path):
    service = makeTrainingService(str(tmp_path / "python"))
    with pytest.raises(InputError, match="could not be started"):
        service.runs.begin(tmp_path / "run", tinyConfig())
    assert service.runs.find(tmp_path / "run") is not None, "the run is there, to be started again"


# --- deleting -------------------------------------------------------------------------------------------------------


def deleted(path):
    said = []
    task = SlicedTask(TrainingRun(path).delete(), said.append, said.append)
    runToEnd(task)
    return said[0]


def test_deleting_removes_what_the_training_wrote(home, tmp_path):
    run = trained(newRun(home / "run"), 50)
    addModel(run)
    (run.checkpoints).mkdir()
    (run.checkpoints / "step-00000050.pt").write_bytes(b"x" * 3_000_000)
    (run.samples / "iteration-00000050" / "c1").mkdir(parents=True)
    (run.path / "loss.png").write_bytes(b"a picture")
    question = TrainingRun(run.path).deletionQuestion()
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
    assert "process" in str(deleted(run.path))
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
    service.deleteRun(run.path, said.append, said.append)
    pollUntil(service, lambda: len(said) > 1)
    assert "not a training folder" in said[1]
