"""The states of a job folder: claims, the dead and the living, cancel, and what is left half done."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from job_folders import last, made_job, nothing
from medddpm.files import atomic_path, sha256
from medddpm.jobs import owner as owners
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.owner import Held, OwnerFile
from medddpm.jobs.runner import run_job
from medddpm.jobs.stop import Stop
from patience import patient


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return made_job(tmp_path)


def test_the_states_of_a_life(folder):
    states = []
    handlers = {"toy": lambda request, job, reporter: states.append(job.state())}
    assert run_job(folder, handlers) == 0
    assert states == [State.RUNNING] and folder.state() is State.DONE
    assert run_job(folder, handlers) == 0 and len(states) == 1, "a job that is done is not done again"
    assert not folder.claim.exists()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def claim(folder: JobFolder, pid: int, token: str | None = None, host: str | None = None, attempt: int = 1) -> None:
    data = {"pid": pid, "token": token, "host": host or socket.gethostname(), "attempt": attempt}
    folder.claim.path.write_text(json.dumps(data))


def test_a_claim_of_the_dead_is_an_interruption_and_is_inherited(folder):
    claim(folder, dead_pid())
    assert folder.state() is State.INTERRUPTED
    assert run_job(folder, {"toy": nothing}) == 0 and folder.state() is State.DONE


@pytest.mark.skipif(sys.platform != "linux", reason="start times are known on Linux and Windows")
def test_a_process_number_used_again_is_not_the_owner(folder):
    claim(folder, os.getpid(), token="another start")
    assert folder.state() is State.INTERRUPTED


def test_a_living_owner_is_respected(folder):
    claim(folder, os.getpid())
    assert folder.state() is State.RUNNING
    with pytest.raises(Held, match=str(os.getpid())):
        run_job(folder, {"toy": nothing})
    past = time.time() - owners.STALE_SECONDS - 5
    os.utime(folder.claim.path, (past, past))
    assert folder.state() is State.INTERRUPTED, "its heartbeat is stale"


def test_on_another_machine_only_the_heartbeat_counts(folder):
    claim(folder, dead_pid(), host="elsewhere")
    assert folder.state() is State.RUNNING
    for years in (-1, 1):  # a clock that is ahead must not keep the job forever
        touched = time.time() + years * 3.2e7
        os.utime(folder.claim.path, (touched, touched))
        assert folder.state() is State.INTERRUPTED


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": "x", "token": 1, "host": 2}', "x" * 9999])
def test_an_unreadable_claim_belongs_to_nobody(folder, text):
    folder.claim.path.write_text(text)
    assert folder.state() is State.INTERRUPTED
    assert run_job(folder, {"toy": nothing}) == 0


def test_a_job_that_kills_its_process_again_and_again_is_given_up(folder):
    claim(folder, dead_pid(), attempt=JobFolder.most_attempts)
    assert run_job(folder, {"toy": nothing}) == 5
    assert folder.state() is State.FAILED and "abruptly" in last(folder).message


def test_only_one_of_many_takes_a_claim_left_by_the_dead(folder):
    claim(folder, dead_pid())
    taken, refused = [], []
    gate = threading.Barrier(8)

    def take() -> None:
        gate.wait()
        try:
            taken.append(OwnerFile(folder.claim.path).take("the job"))
        except Held:
            refused.append(1)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [2] and len(refused) == 7


def test_cancel_before_the_start_and_again_after(folder):
    folder.request_cancel()
    assert run_job(folder, {"toy": nothing}) == 3
    assert folder.state() is State.CANCELLED and last(folder).exit_code == 3
    assert run_job(folder, {"toy": nothing}) == 0, "the request to stop was used up"


@pytest.mark.skipif(sys.platform == "win32", reason="a file whose zeros are not on the disk")
@pytest.mark.parametrize("how", ("cancel", "signal"))
def test_a_huge_file_is_not_read_to_its_end_after_a_cancel(folder, tmp_path, how):
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**38)
    stop = Stop()
    ask = folder.request_cancel if how == "cancel" else lambda: setattr(stop, "reason", Stop.SIGNAL)
    threading.Timer(0.5, ask).start()
    started = time.monotonic()
    assert run_job(folder, {"toy": lambda request, job, reporter: sha256(tmp_path / "huge")}, stop) == 3
    assert folder.state() is State.CANCELLED and 0.4 < time.monotonic() - started < patient(2)


def test_the_loss_of_the_parent_leaves_an_interrupted_job(folder):
    stop = Stop()

    def handler(request, job, reporter):
        stop.reason = Stop.PARENT
        reporter.check_cancelled()

    assert run_job(folder, {"toy": handler}, stop) == 3
    assert folder.state() is State.INTERRUPTED


def test_half_written_outputs_are_swept_before_the_next_run(folder):
    folder.outputs.mkdir()
    (folder.outputs / ".part-1-T1.nii").write_text("half")
    (folder.outputs / "whole.nii").write_text("whole")
    (folder.path / "preview-000003.npy").write_text("old")
    assert run_job(folder, {"toy": nothing}) == 0
    assert sorted(p.name for p in folder.path.rglob("*.n*")) == ["whole.nii"]


def test_a_disk_so_full_that_the_end_cannot_be_written(folder, monkeypatch):
    def full(event):
        raise OSError(errno.ENOSPC, "No space left on device")

    def handler(request, job, reporter):
        monkeypatch.setattr(job, "append", full)
        with atomic_path(job.output("T1.nii")) as temporary:
            temporary.write_bytes(b"half")
            full(None)

    assert run_job(folder, {"toy": handler}) == 2
    assert folder.state() is State.INTERRUPTED and list(folder.outputs.iterdir()) == []
    monkeypatch.undo()
    assert run_job(folder, {"toy": nothing}) == 0
