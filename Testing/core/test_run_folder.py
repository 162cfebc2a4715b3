"""A training run as a folder: made, followed, paused, continued, and read in every half-written state."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import medddpm.cli.runs  # noqa: F401 - registers its command
import pytest
from medddpm.cli.app import app
from medddpm.config import NetworkConfig
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.owner import STALE_SECONDS, Held, Owner
from medddpm.jobs.stop import Stop
from medddpm.progress import Reporter, SilentReporter
from medddpm.training.config import TrainConfig
from medddpm.training.launch import start
from medddpm.training.metrics import MetricsLog, append_metric, number, valid
from medddpm.training.reporter import RunReporter
from medddpm.training.run import Paused, RunFolder, find_runs
from medddpm.training.runner import EXIT_REQUEUE, SIGNALS, run_training
from typer.testing import CliRunner

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")


def config(**changes: object) -> TrainConfig:
    network = NetworkConfig(1, 2, base_channels=8, multipliers=(1, 2), groups=4)
    return TrainConfig("data", network, **{"iterations": 10, "name": "tiny", **changes})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create(config())
    return folder


def train(steps: int = 10) -> object:
    """A training of numbers: counts from where its metrics end, and looks for requests as the trainer does."""

    def training(run: RunFolder, reporter: Reporter) -> None:
        for done in range(run.summary().iteration + 1, min(steps, run.config().iterations) + 1):
            reporter.check_cancelled()
            run.metrics.append("train", done, loss=1 / done, lr=1e-3, seconds_per_iteration=0.1)
            reporter.step(done, run.config().iterations)

    return training


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
    with pytest.raises(InputError, match="holds a training already"):
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
        raise Cancelled("The training was stopped, as one of its processes was asked to.")

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
    with pytest.raises(Held, match=f"in the hands of process {process.pid}"):
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


# The summary, whatever lies there


def test_a_summary_tells_loss_validation_verdict_and_time_left(run: RunFolder) -> None:
    run.claim.take("it")
    run.append(Event("started"))
    run.append(Event("step", step=5, total=10, seconds_left=60.0, time=time.time() - 20))
    run.metrics.append("train", 5, loss=0.25)
    run.metrics.append("validation", 5, loss=0.5, bands=[{"low": 0, "high": 10, "loss": 0.5}])
    run.metrics.append("verdict", 5, verdict="improving", sentence="It is improving.")
    summary = run.summary()
    assert (summary.loss, summary.validation, summary.verdict) == (0.25, 0.5, "improving")
    assert summary.sentence == "It is improving."
    assert summary.seconds_left == pytest.approx(40, abs=2)
    assert summary.model is None
    run.model.mkdir(parents=True)
    (run.model / "config.json").write_text("{}")
    assert run.summary().model == run.model


def test_after_a_resume_the_iteration_is_that_of_the_new_process(run: RunFolder) -> None:
    run.append(Event("step", step=90, total=100, time=time.time() - 5))
    append_metric(run.path, "train", 90, loss=0.1)
    append_metric(run.path, "resumed", 40)
    assert run.summary().iteration == 40
    assert run.summary().loss is None


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl", "claim.json", "job.json"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\n{", b'{"kind":', b"[]\n{}\n[1]\n", b'{"event":"step","time":1e999}\n']
)
def test_a_summary_survives_half_written_files(run: RunFolder, name: str, content: bytes) -> None:
    run.metrics.append("train", 3, loss=0.5)
    (run.path / name).write_bytes(content)
    summary = run.summary()
    assert (summary.problem is not None) == (name == "job.json")
    assert summary.iteration == (0 if name == "metrics.jsonl" else 3)
    assert find_runs(run.path.parent)[0].path == run.path


def test_a_summary_survives_a_folder_that_is_gone(tmp_path: Path) -> None:
    summary = RunFolder(tmp_path / "gone").summary()
    assert summary.state is State.PENDING
    assert "cannot be read" in (summary.problem or "")


def test_events_that_a_crash_broke_off_do_not_hide_the_later_ones(run: RunFolder) -> None:
    with (run.path / "events.jsonl").open("ab") as stream:
        stream.write(b'{"event": "step", "st')
    assert run_training(run, Stop(), train()) == 0
    assert run.summary().state is State.DONE


# Metrics


def test_metrics_are_read_as_they_come(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    assert log.read() == ([], 0)
    log.append("train", 1, loss=float("nan"), lr=1e-4)
    entries, offset = log.read()
    assert entries[0]["loss"] is None
    assert number(entries[0], "lr") == 1e-4
    with log.path.open("ab") as stream:
        stream.write(b'{"kind": "train", "iter')
    assert log.read(offset) == ([], offset)
    log.append("train", 2, loss=0.5)
    assert [entry["iteration"] for entry in log.read(offset)[0]] == [2]
    assert [entry["iteration"] for entry in log.read(10**9)[0]] == [1, 2]


def test_what_a_killed_run_does_again_counts_once(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for iteration in (10, 20, 30):
        log.append("train", iteration, loss=1.0)
    log.append("resumed", 20)
    log.append("train", 30, loss=2.0)
    assert [(m["iteration"], m["loss"]) for m in valid(log.read()[0])] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_metrics_through_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("")
    try:
        (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "real")
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(InputError, match="link"):
        append_metric(tmp_path, "train", 1, loss=1.0)
    assert MetricsLog(tmp_path).read() == ([], 0)


# The reporter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_long_run_writes_few_events_and_counts_all_of_its_time(run: RunFolder) -> None:
    clock = Clock()
    reporter = RunReporter(run, clock=clock)
    for done in range(1, 86_401):
        clock.now += 1.0
        reporter.step(done, 100_000)
    events = run.events()[0]
    assert len(events) < 6000
    assert events[0].seconds_left is None
    assert events[-1].seconds_left == pytest.approx(100_000 - 86_400, rel=0.01)


def test_requests_and_verdicts_go_through_the_reporter(run: RunFolder) -> None:
    reporter = RunReporter(run, Stop())
    reporter.check_cancelled()
    reporter.verdict("diverging", "The loss grows.")
    assert (run.events()[0][-1].event, run.events()[0][-1].stage) == ("verdict", "diverging")
    run.request_pause()
    with pytest.raises(Paused):
        reporter.check_cancelled()
    run.request_cancel()
    with pytest.raises(Cancelled) as raised:
        reporter.check_cancelled()
    assert not isinstance(raised.value, Paused)
    shown: list[str] = []

    class Console(SilentReporter):
        def verdict(self, kind: str, sentence: str) -> None:
            shown.append(sentence)

    RunReporter(run, console=Console()).verdict("flat", "Nothing moves.")
    assert shown == ["Nothing moves."]


def test_runs_below_a_folder_are_found(tmp_path: Path) -> None:
    for name in ("b", "a", "group/c"):
        RunFolder(tmp_path / name).create(config())
    JobFolder(tmp_path / "job").create({}, "synthesis")
    assert [run.path.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)] == ["a", "b", "group/c"]
    with pytest.raises(InputError, match="cannot be read"):
        find_runs(tmp_path / "none")


def test_a_run_can_be_watched_without_torch_and_numpy() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None;"
        "import medddpm.training.run, medddpm.training.launch, medddpm.training.metrics"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The command


def test_the_command_lists_runs_and_asks_one_to_pause(run: RunFolder) -> None:
    runner = CliRunner()
    run_training(run, Stop(), train(4))
    run.metrics.append("verdict", 4, verdict="flat", sentence="The loss no longer falls.")
    (run.path.parent / "broken" / "checkpoints").mkdir(parents=True)
    (run.path.parent / "broken" / "job.json").write_text("{")
    answer = runner.invoke(app, ["runs", str(run.path.parent)])
    assert answer.exit_code == 0
    lines = {line.split()[1]: line for line in answer.output.splitlines() if "│" in line}
    assert all(word in lines["run"] for word in ("done", "4 of 10 (40 %)", "0.25", "The loss no longer falls."))
    assert "is not valid JSON" in lines["broken"]
    answer = runner.invoke(app, ["runs", str(run.path)])
    assert f"tiny, in {run.path}" in answer.output
    answer = runner.invoke(app, ["runs", str(run.path), "--pause"])
    assert "does not run; it is done" in str(answer.exception)
    run.append(Event("queued"))
    run.begin()
    for option, asked in (("--pause", lambda: run.pause_requested), ("--stop", lambda: run.cancel_requested)):
        assert runner.invoke(app, ["runs", str(run.path), option]).exit_code == 0
        assert asked()
