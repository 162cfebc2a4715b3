"""The worker as a real process: order, cancel, heartbeat, locks, death at any moment, resuming, latency."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from medddpm import errors
from medddpm.jobs import spool as spools
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.owner import Held
from medddpm.jobs.preview import read_preview
from medddpm.jobs.process import process_alive, process_token
from medddpm.jobs.runner import run_job
from medddpm.jobs.spool import submit
from medddpm.jobs.worker import Worker

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}

# A worker whose jobs count steps, write a file of 200 blocks through atomic_path, and fail as they are told.
TOY = """
import os, signal, sys, time
import numpy as np
from medddpm.files import atomic_path
from medddpm.jobs.worker import Worker


def toy(request, folder, reporter):
    with open(os.path.join(os.path.dirname(folder.path), ".order"), "a") as stream:
        stream.write(request.get("name", "?") + " ")
    reporter.stage("sample")
    if request.get("limit"):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], resource.RLIM_INFINITY))
    try:
        for step in range(request.get("steps", 1)):
            reporter.check_cancelled()
            time.sleep(request.get("seconds", 0))
            if step == request.get("die_at"):
                os.kill(os.getpid(), signal.SIGKILL)
            if step == request.get("fail_at"):
                raise ValueError("broken")
            reporter.step(step + 1, request["steps"], lambda: np.zeros((1, 2, 2, 2)))
        with atomic_path(folder.output("result.bin")) as temporary, temporary.open("wb") as stream:
            for block in range(200):
                stream.write(bytes(1000))
                stream.flush()
                if request.get("slow_write"):
                    time.sleep(0.02)
    finally:
        if request.get("limit"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    options = eval(sys.argv[2])
    sys.exit(Worker(sys.argv[1], {"toy": toy}, **options).run())
"""

posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "Warteschlange für ÄÖ 日本"
    path.mkdir()
    return path


@pytest.fixture
def start(tmp_path: Path, spool: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start worker processes; none survives the test."""
    script = tmp_path / "toy worker.py"
    script.write_text(TOY, encoding="utf-8")
    processes: list[subprocess.Popen[str]] = []

    def launch(wait: bool = True, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(spool), repr({"idle_seconds": 30.0, **options})]
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        if wait:
            until(lambda: (beat := spools.read_heartbeat(spool)) is not None and beat.pid == process.pid)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait for the condition; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.005)
    return time.monotonic() - began


def toy(spool: Path, name: str = "?", **request: object) -> JobFolder:
    return submit(spool, {"name": name, "steps": 1, **request}, "toy")


def settled(*folders: JobFolder) -> bool:
    return all(folder.state() not in (State.PENDING, State.RUNNING) for folder in folders)


def stepped(folder: JobFolder) -> bool:
    return any(event.event == "step" for event in folder.events()[0])


# Submission


def test_submission_is_whole_private_and_in_order(spool):
    folders = [toy(spool, str(i)) for i in range(20)]
    assert [f.path.name for f in spools.jobs(spool)] == [f.path.name for f in folders]
    assert [f.read().request["name"] for f in spools.jobs(spool)] == [str(i) for i in range(20)]
    assert not [p for p in spool.iterdir() if p.name.startswith(".new")]


def test_order_holds_when_the_clock_goes_back(spool, monkeypatch):
    first = toy(spool)
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    assert toy(spool).path.name > first.path.name


def test_a_submission_that_fails_leaves_nothing(spool, tmp_path):
    with pytest.raises(errors.InputError):
        submit(spool, {"mask": object()}, "toy")
    with pytest.raises(errors.InputError, match="kind"):
        submit(spool, {}, "../toy")
    assert list(spool.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot be made"):
        submit(tmp_path / "file", {}, "toy")


# Serving


def test_jobs_run_in_order_and_past_bad_ones(spool, start):
    names = ["a", "b", "c", "d"]
    good = [toy(spool, name) for name in names]
    failing = toy(spool, "fails", fail_at=0)
    broken = toy(spool)
    (broken.path / "job.json").write_text('{"id": "../../etc"')
    unknown = submit(spool, {}, "other")
    after = toy(spool, "after")
    (spool / ".hidden").mkdir()
    (spool / "no job yet").mkdir()
    (spool / "stray file").write_text("")
    worker = start(idle_seconds=0.3, wait=False)
    assert worker.wait(15) == 0, "idle"
    assert (spool / ".order").read_text().split() == [*names, "fails", "after"]
    assert [f.state() for f in good] == [State.DONE] * 4 and after.state() is State.DONE
    codes = [folder.events()[0][-1].exit_code for folder in (failing, broken, unknown)]
    assert codes == [5, 2, 2]
    assert after.output("result.bin").stat().st_size == 200_000
    assert not (spool / "heartbeat.json").exists() and not spools.worker_alive(spool)


@posix
def test_links_in_the_spool_are_no_jobs(spool, start, tmp_path):
    outside = JobFolder(tmp_path / "outside")
    outside.create({"steps": 1}, "toy")
    (spool / "0-link").symlink_to(outside.path)
    assert start(idle_seconds=0.2, wait=False).wait(10) == 0
    assert outside.state() is State.PENDING and not (outside.path / "events.jsonl").exists()


def test_a_folder_renamed_into_the_spool_is_a_job(spool, start, tmp_path):
    prepared = JobFolder(tmp_path / "my job")
    prepared.create({"steps": 1}, "toy")
    start()
    moved = prepared.path.rename(spool / "my job")
    until(lambda: JobFolder(moved).state() is State.DONE)


def test_a_warm_worker_begins_within_a_third_of_a_second(spool, start):
    start()
    waits = []
    for _ in range(3):
        folder = toy(spool, steps=1)
        submitted = time.time()
        until(lambda folder=folder: folder.state() is State.DONE)
        step = next(e for e in folder.events()[0] if e.event == "step")
        waits.append(step.time - submitted)
    assert min(waits) < 0.3


def test_an_idle_worker_rests(spool, start):
    for index in range(100):  # polling must stay cheap beside old jobs
        folder = toy(spool, str(index))
        folder.append(spools.Event("done"))
    worker = psutil.Process(start().pid)
    time.sleep(0.5)
    before, began = worker.cpu_times(), time.monotonic()
    time.sleep(2.0)
    after = worker.cpu_times()
    share = (after.user + after.system - before.user - before.system) / (time.monotonic() - began)
    assert share < 0.04, f"{share:.1%} of a core while idle"  # clock ticks are coarse; the aim is 2 %


def test_cancel_ends_a_job_within_a_step_and_the_worker_goes_on(spool, start):
    start()
    long, waiting, after = toy(spool, steps=1000, seconds=0.1), toy(spool, "never"), toy(spool, "after")
    waiting.request_cancel()
    until(lambda: stepped(long))
    assert long.state() is State.RUNNING
    long.request_cancel()
    assert until(lambda: long.state() is State.CANCELLED) < 1.0
    until(lambda: after.state() is State.DONE)
    assert waiting.state() is State.CANCELLED and "never" not in (spool / ".order").read_text().split()
    assert long.events()[0][-1].exit_code == 3 and list(long.outputs.iterdir()) == []


def test_the_heart_beats_while_a_job_computes(spool, start):
    worker = start()
    job = toy(spool, steps=1, seconds=3)
    until(lambda: spools.read_heartbeat(spool).job == job.path.name)
    beats = set()
    until(lambda: beats.add(spools.read_heartbeat(spool).time) or len(beats) == 3)
    ordered = sorted(beats)
    assert max(b - a for a, b in itertools.pairwise(ordered)) < 2.0
    beat = spools.read_heartbeat(spool)
    assert beat.pid == worker.pid and beat.token == process_token(worker.pid) and beat.model is None
    assert spools.worker_alive(spool) and job.state() is State.RUNNING


def test_previews_arrive_while_the_job_runs(spool, start):
    start()
    job = toy(spool, steps=40, seconds=0.1)
    until(lambda: any(e.event == "preview" for e in job.events()[0]))
    event = next(e for e in job.events()[0] if e.event == "preview")
    assert read_preview(job.inside(event.path)).shape == (1, 2, 2, 2) and event.total == 40
    job.request_cancel()
    until(lambda: settled(job))
    assert list(job.path.glob("preview-*")) == []


def test_a_second_worker_is_refused(spool, start):
    first = start()
    second = start(wait=False)
    assert second.wait(10) == 1  # the toy script does not catch the error; the command does, with exit code 2
    assert f"process {first.pid}" in second.stderr.read()
    result = subprocess.run(
        [sys.executable, "-m", "medddpm.jobs", str(spool)], env=ENVIRONMENT, capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 2 and f"process {first.pid}" in result.stderr and "Traceback" not in result.stderr
    assert first.poll() is None and spools.worker_alive(spool)


def test_a_lock_of_the_dead_is_taken_over(spool, start):
    corpse = subprocess.Popen([sys.executable, "-c", ""])
    corpse.wait()
    dead = {"pid": corpse.pid, "token": None, "host": socket.gethostname(), "attempt": 1}
    spools.lock(spool).path.write_text(json.dumps(dead))
    assert not spools.worker_alive(spool)
    start()
    assert spools.worker_alive(spool)


# Death and resuming


@posix
@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_killed_in_the_middle_then_resumed(spool, start, seconds):
    worker = start()
    job = toy(spool, steps=1, slow_write=True)
    other = toy(spool, "other")
    until(lambda: any(job.outputs.glob(".part-*")))
    time.sleep(seconds)
    worker.kill()
    worker.wait()
    assert job.state() is State.INTERRUPTED and not job.output("result.bin").exists()
    assert other.state() is State.PENDING
    (job.path / "events.jsonl").open("ab").write(b'{"event": "step", "ti')
    write = json.loads((job.path / "job.json").read_text())
    write["request"]["slow_write"] = False
    (job.path / "job.json").write_text(json.dumps(write))
    start()
    until(lambda: settled(job, other))
    assert job.state() is State.DONE and job.output("result.bin").stat().st_size == 200_000
    assert [p.name for p in job.outputs.iterdir()] == ["result.bin"]
    assert [e.event for e in job.events()[0]].count("started") == 2


@posix
def test_without_resume_an_interrupted_job_waits_for_a_person(spool, start):
    job = toy(spool, steps=3, die_at=1)
    assert start(wait=False).wait(10) == -signal.SIGKILL
    assert job.state() is State.INTERRUPTED
    assert start(wait=False, resume=False, idle_seconds=0.3).wait(10) == 0
    assert job.state() is State.INTERRUPTED
    again = spools.requeue(job)
    assert again.state() is State.PENDING and not job.path.exists()
    assert again.read().request["die_at"] == 1


@posix
def test_a_job_that_kills_its_worker_does_not_hold_up_the_others_forever(spool, start):
    deadly, after = toy(spool, die_at=0), toy(spool, "after")
    codes = [start(wait=False, idle_seconds=0.3).wait(10) for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert deadly.state() is State.FAILED and after.state() is State.DONE


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_job_and_ends_the_worker(spool, start, number):
    worker = start()
    job, waiting = toy(spool, steps=1000, seconds=0.05), toy(spool)
    until(lambda: stepped(job))
    worker.send_signal(number)
    assert worker.wait(5) == 3
    assert job.state() is State.CANCELLED and waiting.state() is State.PENDING
    assert not spools.worker_alive(spool) and not (spool / "worker.json").exists()


PARENT = """
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, sys.argv[1], sys.argv[2], repr({"parent_pid": os.getpid()})])
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_the_worker_does_not_outlive_its_parent(spool, start, tmp_path, busy):
    script = tmp_path / "toy worker.py"
    command = [sys.executable, "-c", PARENT, str(script), str(spool)]
    parent = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    try:
        until(lambda: spools.worker_alive(spool))
        job = toy(spool, steps=1000 if busy else 1, seconds=0.05)
        until(lambda: stepped(job) if busy else job.state() is State.DONE)
        parent.kill()
        parent.communicate()
        until(lambda: not process_alive(pid), 6)
        assert job.state() is (State.INTERRUPTED if busy else State.DONE)
        assert not (spool / "worker.json").exists(), "it left in good order"
    finally:
        parent.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def test_a_parent_that_is_gone_already(spool, start):
    corpse = subprocess.Popen([sys.executable, "-c", ""])
    corpse.wait()
    job = toy(spool)
    assert start(wait=False, parent_pid=corpse.pid).wait(10) == 0
    assert job.state() is State.PENDING


def test_a_request_to_stop_is_honored_after_the_job_and_only_once(spool, start):
    worker = start()
    job, waiting = toy(spool, steps=10, seconds=0.05), toy(spool)
    until(lambda: stepped(job))
    spools.request_stop(spool)
    assert worker.wait(10) == 0
    assert job.state() is State.DONE and waiting.state() is State.PENDING
    spools.request_stop(spool)
    os.utime(spool / "stop", (time.time() - 60, time.time() - 60))
    start(wait=False, idle_seconds=0.2).wait(10)
    assert waiting.state() is State.DONE, "a stop left over from earlier does not count"


@posix
def test_a_full_disk_is_a_sentence_and_the_next_job_runs(spool, start):
    start()
    full, after = toy(spool, limit=50_000), toy(spool)
    until(lambda: settled(full, after))
    assert full.state() is State.FAILED and after.state() is State.DONE
    message = full.events()[0][-1].message
    assert "result.bin could not be written" in message and "Free space" in message
    assert list(full.outputs.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_writing_to_a_full_device_is_told_as_such(spool):
    def handler(request, folder, reporter):
        with open("/dev/full", "wb") as stream:  # noqa: PTH123 - a device
            stream.write(b"x")

    job = toy(spool)
    assert run_job(job, {"toy": handler}) == 2
    assert "the disk is full" in job.events()[0][-1].message


# In this process


def test_a_job_of_the_command_line_is_left_alone_by_the_worker(spool, start):
    job = toy(spool)

    def handler(request, folder, reporter):
        start()
        time.sleep(0.5)
        assert "?" not in ((spool / ".order").read_text() if (spool / ".order").exists() else "")
        with pytest.raises(Held):
            run_job(JobFolder(folder.path), {"toy": handler})
        with pytest.raises(Held):
            spools.requeue(JobFolder(folder.path))

    assert run_job(job, {"toy": handler}) == 0


def test_a_worker_in_a_thread_needs_no_signals(spool):
    seen, codes = [], []
    worker = Worker(spool, {"toy": lambda request, job, reporter: seen.append(request["name"])}, idle_seconds=0.1)
    job = toy(spool, "threaded")
    thread = threading.Thread(target=lambda: codes.append(worker.run()))
    thread.start()
    thread.join(10)
    assert codes == [0] and seen == ["threaded"] and job.state() is State.DONE


def test_the_spool_vanishes_under_the_worker(spool, start):
    worker = start()
    spool.rename(spool.with_name("elsewhere"))
    assert worker.wait(10) == 1
    assert "The spool folder" in worker.stderr.read().splitlines()[-1]


def test_garbage_in_the_files_of_a_spool(spool):
    for text in ("", "[]", "{}", '{"time": 1e999, "pid": 1}', '{"pid": "x", "time": 1}', "[" * 5000, "x" * 50_000):
        (spool / "heartbeat.json").write_text(text)
        (spool / "worker.json").write_text(text)
        assert spools.read_heartbeat(spool) is None and not spools.worker_alive(spool)


def test_process_numbers_out_of_range_are_not_alive():
    assert not process_alive(0) and not process_alive(-1) and not process_alive(2**70)
    assert process_alive(os.getpid(), process_token(os.getpid()))


# The commands


def test_the_module_command_runs_without_a_terminal(spool):
    bad = submit(spool, {}, "nothing-known")
    command = [sys.executable, "-m", "medddpm.jobs", str(spool), "--idle-seconds", "0.1", "--parent", str(os.getpid())]
    assert subprocess.run(command, env=ENVIRONMENT, timeout=20).returncode == 0
    assert bad.state() is State.FAILED and "nothing-known" in bad.events()[0][-1].message


def test_the_commands_job_and_worker(spool):
    import medddpm.cli.worker
    from typer.testing import CliRunner

    app = medddpm.cli.worker.app
    runner = CliRunner()
    job = submit(spool, {}, "nothing-known")
    result = runner.invoke(app, ["job", str(job.path)])
    assert result.exit_code == 2 and "nothing-known" in result.output
    missing = runner.invoke(app, ["job", str(spool / "missing")])
    assert isinstance(missing.exception, errors.InputError) and "no job.json" in str(missing.exception)
    assert runner.invoke(app, ["worker", str(spool), "--idle-seconds", "0"]).exit_code == 0
