"""A training run as a folder: made, paused, continued, by one process at a time, and asked by the command."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import medddpm.cli.runs  # noqa: F401 - registers its command
import pytest
from medddpm.cli.commands import app
from medddpm.errors import InputError, MedDDPMError, Paused
from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.owner import STALE_SECONDS, Held, Owner
from medddpm.jobs.stop import Stop
from medddpm.progress import Reporter
from medddpm.training.launch import start
from medddpm.training.resume import dataset_identity
from medddpm.training.run import RunFolder
from medddpm.training.runner import ENDED, EXIT_REQUEUE, SIGNALS, run_training
from patience import patient
from run_folders import config, made_run, train
from training_runs import make_dataset
from typer.testing import CliRunner

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


def other_host(run: RunFolder, age: float) -> None:
    """A claim of a process on another machine that touched it ``age`` seconds ago."""
    run.claim.path.write_text(json.dumps(asdict(Owner(1, None, "another-machine"))))
    then = time.time() - age
    os.utime(run.claim.path, (then, then))


# Made and opened
def test_a_run_holds_its_configuration_with_whole_paths(run: RunFolder) -> None:
    opened = RunFolder.open(run.path)
    assert opened.state() is State.PENDING
    assert opened.config().dataset == str(Path("data").absolute())
    assert opened.config().network == config().network
    assert opened.read().kind == "training"


def test_only_an_empty_folder_can_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").create(config())
    with pytest.raises(InputError, match="already holds a training"):
        RunFolder(tmp_path / "empty").create(config())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="full cannot be made"):
        RunFolder(tmp_path / "full").create(config())
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"


def test_other_folders_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no job\.json"):
        RunFolder.open(tmp_path)
    JobFolder(tmp_path / "job").create({}, "synthesis")
    with pytest.raises(InputError, match="kind 'synthesis', not a training"):
        RunFolder.open(tmp_path / "job")


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"iterations": 0}, "iterations is 0"), ({"colour": 1}, "unknown field 'colour'"), ({"dataset": 3}, "dataset")],
)
def test_a_request_that_does_not_fit_makes_no_run(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        RunFolder(tmp_path / "run").create({**config().to_dict(), **changes})
    assert not (tmp_path / "run").exists()


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Root may write anywhere: be nobody for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@POSIX
def test_a_folder_that_cannot_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        run = RunFolder(Path(parent) / "run")
        run.create(config())
        run.path.chmod(0o555)
        with without_rights():
            with pytest.raises(InputError, match=r"run cannot be written: Permission denied"):
                run_training(run, Stop(), train())
            with pytest.raises(InputError, match=r"could not be started in .*run"):
                start(run)
            with pytest.raises(InputError, match="could not be written: Permission denied"):
                run.request_pause()
            assert run.summary().state is State.PENDING
        run.path.chmod(0o755)


# How it ends
def test_a_training_that_ends_is_done_and_stays_so(run: RunFolder) -> None:
    assert run_training(run, Stop(), train()) == 0
    summary = run.summary()
    assert (summary.state, summary.iteration, summary.total) == (State.DONE, 10, 10)
    assert summary.loss == pytest.approx(0.1)
    assert (summary.name, summary.message, summary.seconds_left) == ("tiny", "The training is done.", None)
    before = run.events_size()
    assert run_training(run, Stop(), train()) == 0
    assert run.events_size() == before


def test_pause_and_stop_end_it_so_that_it_can_go_on(run: RunFolder) -> None:
    run_training(run, Stop(), train(4))
    run.extend(10)
    run.request_pause()
    assert run_training(run, Stop(), train()) == 3
    assert run.state() is State.PAUSED
    assert not run.pause_requested
    assert "is paused" in (run.summary().message or "")
    run.request_cancel()
    assert run_training(run, Stop(), train()) == 3
    assert run.state() is State.CANCELLED
    assert not run.cancel_requested
    assert run_training(run, Stop(), train()) == 0
    assert run.summary().iteration == 10


@POSIX
def test_a_huge_dataset_is_not_read_to_its_end_after_a_pause(run: RunFolder, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "set")
    os.truncate(dataset / "cases" / "case0.safetensors", 2**38)
    threading.Timer(0.5, run.request_pause).start()
    started = time.monotonic()
    assert run_training(run, Stop(), lambda run, reporter: dataset_identity(dataset) and None) == 3
    assert run.state() is State.PAUSED and time.monotonic() - started < patient(2)


def test_a_run_that_is_done_goes_on_with_more_iterations(run: RunFolder) -> None:
    run_training(run, Stop(), train())
    run.extend(15)
    assert run.state() is State.PENDING
    assert run_training(run, Stop(), train(15)) == 0
    assert run.summary().iteration == run.summary().total == 15
    with pytest.raises(InputError, match="has done 15 iterations, so it cannot be continued to 12"):
        run.extend(12)


def test_an_error_is_told_in_a_sentence_and_detailed_in_the_log(run: RunFolder) -> None:
    def nan(run: RunFolder, reporter: Reporter) -> None:
        raise MedDDPMError("The loss became nan at iteration 4. The last checkpoint is kept.")

    assert run_training(run, Stop(), nan) == 5
    assert run.state() is State.FAILED
    assert run.summary().message == "The loss became nan at iteration 4. The last checkpoint is kept."
    assert "MedDDPMError" in run.log_path.read_text()
    assert run_training(run, Stop(), train()) == 0


def test_a_full_disk_is_told(run: RunFolder) -> None:
    def full(run: RunFolder, reporter: Reporter) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "events")

    assert run_training(run, Stop(), full) == 2
    assert "the disk is full" in (run.summary().message or "")


@POSIX
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", EXIT_REQUEUE), ("SIGUSR1", EXIT_REQUEUE), ("SIGINT", 3)])
def test_signals_pause_it_and_tell_a_queue_whether_to_try_again(run: RunFolder, number: str, code: int) -> None:
    def training(run: RunFolder, reporter: Reporter) -> None:
        os.kill(os.getpid(), getattr(signal, number))
        time.sleep(0)
        reporter.check_cancelled()

    stop = Stop()
    with stop.on_signals(SIGNALS):
        assert run_training(run, stop, training) == code
    assert run.state() is State.PAUSED


def test_what_ends_because_another_process_of_the_group_got_a_signal_is_queued_again(run: RunFolder) -> None:
    def training(run: RunFolder, reporter: Reporter) -> None:
        raise Paused(ENDED)

    assert run_training(run, Stop(), training) == EXIT_REQUEUE
    assert run.state() is State.PAUSED


def test_the_log_names_no_folder_of_the_input(run: RunFolder) -> None:
    def training(run: RunFolder, reporter: Reporter) -> None:
        raise InputError(f"The case {run.config().dataset}/patient7 is damaged.")

    run_training(run, Stop(), training)
    assert str(Path("data").absolute()) not in run.log_path.read_text()


# One process at a time, here and on other machines
@POSIX
def test_a_run_whose_process_was_killed_is_interrupted_and_goes_on(run: RunFolder) -> None:
    code = (
        "import sys, time; from medddpm.training.run import RunFolder;"
        "from medddpm.training.runner import run_training;"
        "from medddpm.jobs.stop import Stop;"
        "t = lambda run, reporter: [reporter.step(i, 10) or time.sleep(0.05) for i in range(1000)];"
        "run_training(RunFolder(sys.argv[1]), Stop(), t)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run.path)])
    while run.state() is not State.RUNNING:
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(Held, match=f"in use by process {process.pid}"):
        run_training(run, Stop(), train())
    with pytest.raises(Held):
        run.extend(20)
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / ".part-1-step-00000001.pt").write_text("half")
    process.kill()
    process.wait()
    assert run.state() is State.INTERRUPTED
    assert run_training(run, Stop(), train()) == 0
    assert not list((run.path / "checkpoints").iterdir())
    assert any("ended abruptly" in (event.message or "") for event in run.events()[0])


def test_a_heartbeat_of_another_machine_is_respected_until_it_is_stale(run: RunFolder) -> None:
    run.append(Event("started"))
    other_host(run, age=2)
    assert run.state() is State.RUNNING
    with pytest.raises(Held, match="another-machine"):
        run_training(run, Stop(), train())
    other_host(run, age=STALE_SECONDS + 5)
    assert run.state() is State.INTERRUPTED
    assert run_training(run, Stop(), train()) == 0


def test_an_interrupted_run_that_is_extended_stays_interrupted(run: RunFolder) -> None:
    run.append(Event("started"))
    other_host(run, age=STALE_SECONDS + 5)
    run.extend(30)
    assert run.state() is State.INTERRUPTED
    assert run.config().iterations == 30


# The command
def test_the_command_lists_runs_and_asks_one_to_pause(run: RunFolder) -> None:
    runner = CliRunner(env={"COLUMNS": "1000"})
    run_training(run, Stop(), train(4))
    run.metrics.append("verdict", 4, verdict="flat", sentence="The loss no longer falls.")
    (run.path.parent / "broken" / "checkpoints").mkdir(parents=True)
    (run.path.parent / "broken" / "job.json").write_text("{")
    answer = runner.invoke(app, ["runs", str(run.path.parent)])
    assert answer.exit_code == 0
    lines = {line.split()[0]: line for line in answer.output.splitlines()}
    assert all(word in lines["run"] for word in ("done", "4 of 10 (40 %)", "0.25", "The loss no longer falls."))
    assert "is not valid JSON" in lines["broken"]
    answer = runner.invoke(app, ["runs", str(run.path)])
    assert f"tiny, in {run.path}" in answer.output
    answer = runner.invoke(app, ["runs", str(run.path), "--pause"])
    assert "is not running; it is done" in str(answer.exception)
    run.append(Event("queued"))
    run.begin()
    for option, asked in (("--pause", lambda: run.pause_requested), ("--stop", lambda: run.cancel_requested)):
        assert runner.invoke(app, ["runs", str(run.path), option]).exit_code == 0
        assert asked()
