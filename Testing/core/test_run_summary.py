"""What a training run tells of itself: its summary, metrics and events, in every half-written state."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from medddpm.errors import Cancelled, InputError, Paused
from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.stop import Stop
from medddpm.progress import SilentReporter
from medddpm.training.metrics import MetricsLog, number, valid
from medddpm.training.run import RunFolder, find_runs
from medddpm.training.runner import RunReporter, run_training
from run_folders import config, made_run, train


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


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
    MetricsLog(run.path).append("train", 90, loss=0.1)
    MetricsLog(run.path).append("resumed", 40)
    assert run.summary().iteration == 40
    assert run.summary().loss is None


def test_the_time_left_before_a_pause_is_not_that_after_it(run: RunFolder) -> None:
    run.claim.take("it")
    run.append(Event("step", step=50, total=100, seconds_left=60.0, time=time.time() - 50))
    assert run.summary().seconds_left == pytest.approx(10, abs=2)
    run.append(Event("paused", message="Paused."))
    run.append(Event("started"))
    assert run.summary().seconds_left is None and run.summary().iteration == 50
    run.append(Event("step", step=51, total=100, seconds_left=58.0))
    assert run.summary().seconds_left == pytest.approx(58, abs=2)


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


@pytest.mark.parametrize("seed", range(8))
def test_the_newest_figures_are_those_that_count(tmp_path: Path, seed: int) -> None:
    """Read from the end, with a part of the file as the whole of it."""
    random, log, iteration = Random(seed), MetricsLog(tmp_path), 0
    for _ in range(60):
        kind = random.choice(["train", "train", "validation", "verdict", "resumed"])
        iteration = random.randint(0, iteration) if kind == "resumed" else iteration + random.randint(0, 3)
        log.append(kind, iteration, value=random.random())
        if random.random() < 0.2:
            with log.path.open("ab") as stream:
                stream.write(b"no metric\n")
    kinds = ("train", "validation", "verdict", "quality")
    expected = {metric["kind"]: metric for metric in valid(log.read()[0])}
    assert log.latest(kinds) == expected
    assert log.latest(("validation",)) == {kind: value for kind, value in expected.items() if kind == "validation"}


def test_metrics_through_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("")
    try:
        (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "real")
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(InputError, match="link"):
        MetricsLog(tmp_path).append("train", 1, loss=1.0)
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
