"""The worker as a real process: order, cancel, locks, latency, and the commands."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

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
from patience import patient
from worker_processes import ENVIRONMENT, posix, settled, stepped, toy, until, worker_alive


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
    assert worker.wait(patient(15)) == 0, "idle"
    assert (spool / ".order").read_text().split() == [*names, "fails", "after"]
    assert [f.state() for f in good] == [State.DONE] * 4 and after.state() is State.DONE
    codes = [folder.events()[0][-1].exit_code for folder in (failing, broken, unknown)]
    assert codes == [5, 2, 2]
    assert after.output("result.bin").stat().st_size == 200_000
    assert not worker_alive(spool)


@posix
def test_links_in_the_spool_are_no_jobs(spool, start, tmp_path):
    outside = JobFolder(tmp_path / "outside")
    outside.create({"steps": 1}, "toy")
    (spool / "0-link").symlink_to(outside.path)
    assert start(idle_seconds=0.2, wait=False).wait(patient(10)) == 0
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
    assert min(waits) < patient(0.2)


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
    assert until(lambda: long.state() is State.CANCELLED) < patient(1)
    until(lambda: after.state() is State.DONE)
    assert waiting.state() is State.CANCELLED and "never" not in (spool / ".order").read_text().split()
    assert long.events()[0][-1].exit_code == 3 and list(long.outputs.iterdir()) == []


def test_the_heart_beats_while_a_job_computes(spool, start):
    worker = start()
    job = toy(spool, steps=1, seconds=3)
    until(lambda: job.state() is State.RUNNING)
    files, beats = (spools.lock(spool).path, job.claim.path), set()
    until(lambda: beats.add(tuple(path.stat().st_mtime for path in files)) or len(beats) >= 5)
    for times in zip(*sorted(beats), strict=True):
        assert max(b - a for a, b in itertools.pairwise(times)) < patient(2)
    owner = spools.lock(spool).owner()
    assert owner.pid == worker.pid and owner.token == process_token(worker.pid)
    written = {path.name for path in spool.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert written == {"worker.json"}, "nothing else is written every second"
    assert worker_alive(spool) and job.state() is State.RUNNING


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
    assert second.wait(patient(10)) == 1  # the toy script does not catch the error; the command does, with exit code 2
    assert f"process {first.pid}" in second.stderr.read()
    result = subprocess.run(
        [sys.executable, "-m", "medddpm.jobs", str(spool)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=patient(20),
    )
    assert result.returncode == 2 and f"process {first.pid}" in result.stderr and "Traceback" not in result.stderr
    assert first.poll() is None and worker_alive(spool)


def test_a_lock_of_the_dead_is_taken_over(spool, start):
    corpse = subprocess.Popen([sys.executable, "-c", ""])
    corpse.wait()
    dead = {"pid": corpse.pid, "token": None, "host": socket.gethostname(), "attempt": 1}
    spools.lock(spool).path.write_text(json.dumps(dead))
    assert not worker_alive(spool)
    start()
    assert worker_alive(spool)


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
    assert worker.wait(patient(10)) == 1
    assert "The spool folder" in worker.stderr.read().splitlines()[-1]


@pytest.mark.parametrize("gone", ("job", "spool"))
def test_what_is_deleted_while_it_runs_ends_and_does_not_come_back(spool, start, gone):
    worker = start()
    job = toy(spool, steps=1000, seconds=0.05)
    until(lambda: stepped(job))
    deleted = job.path if gone == "job" else spool
    shutil.rmtree(deleted)
    if gone == "job":
        after = toy(spool, "after")
        until(lambda: after.state() is State.DONE)
    else:
        assert worker.wait(patient(10)) == 1
    assert not deleted.exists()


def test_process_numbers_out_of_range_are_not_alive():
    assert not process_alive(0) and not process_alive(-1) and not process_alive(2**70)
    assert process_alive(os.getpid(), process_token(os.getpid()))


# The commands
def test_the_module_command_runs_without_a_terminal(spool):
    bad = submit(spool, {}, "nothing-known")
    command = [sys.executable, "-m", "medddpm.jobs", str(spool), "--idle-seconds", "0.1", "--parent", str(os.getpid())]
    assert subprocess.run(command, env=ENVIRONMENT, timeout=patient(20)).returncode == 0
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
