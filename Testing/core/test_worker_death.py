"""The worker as a real process: death at any moment, resuming, parents that end, full disks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from medddpm.jobs import spool as spools
from medddpm.jobs.folder import State
from medddpm.jobs.process import process_alive
from patience import patient
from worker_processes import ENVIRONMENT, posix, settled, stepped, toy, until, worker_alive


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
    assert start(wait=False).wait(patient(10)) == -signal.SIGKILL
    assert job.state() is State.INTERRUPTED
    assert start(wait=False, resume=False, idle_seconds=0.3).wait(patient(10)) == 0
    assert job.state() is State.INTERRUPTED
    again = spools.requeue(job)
    assert again.state() is State.PENDING and not job.path.exists()
    assert again.read().request["die_at"] == 1


@posix
def test_a_job_that_kills_its_worker_does_not_hold_up_the_others_forever(spool, start):
    deadly, after = toy(spool, die_at=0), toy(spool, "after")
    codes = [start(wait=False, idle_seconds=0.3).wait(patient(10)) for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert deadly.state() is State.FAILED and after.state() is State.DONE


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_job_and_ends_the_worker(spool, start, number):
    worker = start()
    job, waiting = toy(spool, steps=1000, seconds=0.05), toy(spool)
    until(lambda: stepped(job))
    worker.send_signal(number)
    assert worker.wait(patient(5)) == 3
    assert job.state() is State.CANCELLED and waiting.state() is State.PENDING
    assert not worker_alive(spool) and not (spool / "worker.json").exists()


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
        until(lambda: worker_alive(spool))
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
    assert start(wait=False, parent_pid=corpse.pid).wait(patient(10)) == 0
    assert job.state() is State.PENDING


def test_a_request_to_stop_is_honored_after_the_job_and_only_once(spool, start):
    worker = start()
    job, waiting = toy(spool, steps=10, seconds=0.05), toy(spool)
    until(lambda: stepped(job))
    spools.request_stop(spool)
    assert worker.wait(patient(10)) == 0
    assert job.state() is State.DONE and waiting.state() is State.PENDING
    spools.request_stop(spool)
    os.utime(spool / "stop", (time.time() - 60, time.time() - 60))
    start(wait=False, idle_seconds=0.2).wait(patient(10))
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
