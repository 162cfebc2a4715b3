"""Jobs in real worker processes: followed, cancelled, killed, left behind and taken up again."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from medddpm.errors import InputError
from medddpm.jobs import spool as spools
from medddpm.jobs.events import State
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.process import process_alive
from MedDDPMSlicerLib import Jobs
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import JobMonitor
from MedDDPMSlicerLib.Processes import WorkerProcess
from MedDDPMSlicerLib.Storage import Storage
from patience import patient
from waiting import resumed, submitted, waitFor

CORE = Path(Jobs.__file__).resolve().parents[2] / "MedDDPMCore"
# A real worker with jobs of its own kinds: "steps" counts slowly, "print" and "fail" do what they say. As in
# PythonSlicer, the interpreter that works is a child of the process that was started.
WORKER = """
import pathlib, subprocess, sys, time
if sys.argv[1] == "launcher":
    sys.exit(subprocess.call([sys.executable, __file__, "worker", *sys.argv[2:]]))
from medddpm.errors import InputError
from medddpm.jobs.worker import Worker
sys.argv.remove("worker")
options = dict(zip(sys.argv[4::2], sys.argv[5::2]))

def steps(request, folder, reporter):
    reporter.stage("sample")
    (folder.outputs / "begun").write_text("x")
    for done in range(1, request["steps"] + 1):
        reporter.check_cancelled()
        time.sleep(request["seconds"])
        reporter.step(done, request["steps"])
    reporter.warning("Look at this.")
    (folder.outputs / "result").write_text("good")

def fail(request, folder, reporter):
    raise InputError("The mask is empty. Paint one.")

def hang(request, folder, reporter):
    reporter.stage("sample")
    time.sleep(600)

handlers = {"steps": steps, "fail": fail, "hang": hang}
print("worker of", sys.argv[3].count("/"), "levels", file=sys.stderr, flush=True)
worker = Worker(pathlib.Path(sys.argv[3]), handlers, float(options["--idle-seconds"]), int(options["--parent"]))
sys.exit(worker.run())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The worker of these tests as a file."""
    path = tmp_path / "worker.py"
    path.write_text(textwrap.dedent(WORKER))
    return path


@pytest.fixture
def worker(workerProcess: Callable[..., WorkerProcess], storage: Storage, script: Path) -> WorkerProcess:
    """A worker for the kinds of jobs of these tests, below a launcher."""
    return workerProcess(storage.synthesisSpool, python=[sys.executable, str(script), "launcher"])


@pytest.fixture
def monitor(storage: Storage, worker: WorkerProcess) -> JobMonitor:
    """The monitor of the synthesis spool."""
    return JobMonitor(storage.synthesisSpool, worker, storage.exchange)


def until(monitor: JobMonitor, condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Poll until the condition holds."""
    end = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        monitor.poll()
        time.sleep(0.02)


def workerPid(monitor: JobMonitor) -> int:
    """The process that really works (not its launcher)."""
    owner = spools.lock(monitor.spool).living_owner()
    assert owner is not None
    return owner.pid


def steps(count: int = 3, seconds: float = 0.02, **more: Any) -> dict[str, Any]:
    """A request of kind "steps"."""
    return {"steps": count, "seconds": seconds, **more}


def running(monitor: JobMonitor, request: dict[str, Any] | None = None, kind: str = "steps") -> Job:
    """A job that a worker is at."""
    handle = submitted(monitor, request or steps(2000, 0.05), kind)
    until(monitor, lambda: handle.state is State.RUNNING and handle.stage == "sample")
    return handle


def test_a_job_is_followed_to_its_end(monitor: JobMonitor) -> None:
    handle = submitted(monitor, steps(), "steps")
    seen: list[tuple[State, int | None]] = []
    handle.observers.append(lambda h: seen.append((h.state, h.step)))
    assert handle.state is State.PENDING
    waitFor(monitor, handle, patient(20))
    assert (handle.state, handle.exitCode, handle.step, handle.total) == (State.DONE, 0, 3, 3)
    assert handle.warnings == ["Look at this."]
    assert (handle.folder.output("result")).read_text() == "good"
    assert seen[-1][0] is State.DONE
    assert "worker of" in handle.details()
    assert "done" in handle.details()


def test_a_second_job_finds_the_worker_warm(monitor: JobMonitor) -> None:
    waitFor(monitor, submitted(monitor, steps(), "steps"), patient(20))
    pid = workerPid(monitor)
    waitFor(monitor, submitted(monitor, steps(1, 0), "steps"), patient(20))
    assert workerPid(monitor) == pid


def test_a_failure_says_its_sentence(monitor: JobMonitor) -> None:
    handle = submitted(monitor, {}, "fail")
    waitFor(monitor, handle, patient(20))
    assert (handle.state, handle.exitCode) == (State.FAILED, 2)
    assert handle.message == "The mask is empty. Paint one."
    assert "InputError" in handle.details()
    again = resumed(monitor, handle)
    waitFor(monitor, again, patient(20))
    assert again.message == "The mask is empty. Paint one."


def test_cancel_ends_within_a_step_and_keeps_the_worker(monitor: JobMonitor) -> None:
    handle = running(monitor)
    pid = workerPid(monitor)
    start = time.monotonic()
    handle.cancel()
    assert handle.state is State.CANCELLING
    waitFor(monitor, handle, patient(5))
    assert time.monotonic() - start < patient(1)
    assert (handle.state, handle.exitCode) == (State.CANCELLED, 3)
    assert not (handle.folder.outputs / "result").exists()
    assert process_alive(pid)


def test_a_waiting_job_is_cancelled_at_once_and_never_begins(monitor: JobMonitor) -> None:
    first = running(monitor)
    second = submitted(monitor, steps(), "steps")
    second.cancel()
    assert second.state is State.CANCELLED
    told: list[State] = []
    second.observers.append(lambda h: told.append(h.state))
    monitor.poll()
    assert told == [State.CANCELLED]
    first.cancel()
    third = submitted(monitor, steps(1), "steps")
    waitFor(monitor, third, patient(10))
    assert not (second.folder.outputs / "begun").exists()
    second.discard()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_worker_is_noticed_and_the_next_job_starts_another(monitor: JobMonitor) -> None:
    handle, waiting = running(monitor), submitted(monitor, steps(1), "steps")
    pid = workerPid(monitor)
    os.kill(pid, signal.SIGKILL)
    waitFor(monitor, handle, patient(5))
    assert handle.state is State.FAILED
    assert handle.message is not None and "ended" in handle.message and "again" in handle.message
    assert "sample" in handle.details()
    waitFor(monitor, waiting, patient(10))
    assert waiting.state is State.DONE
    assert workerPid(monitor) != pid
    # The job that died is not run again by the new worker, but can be asked for again.
    assert handle.folder.state().value == "failed"
    again = resumed(monitor, handle)
    until(monitor, lambda: again.state is State.RUNNING)
    again.cancel()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_polling_is_cheap_and_a_dead_worker_is_found_within_a_second(monitor: JobMonitor) -> None:
    handle = running(monitor)
    used, took = [], []
    for _ in range(40):
        thread, wall = time.thread_time(), time.perf_counter()
        monitor.poll()
        used.append(time.thread_time() - thread)
        took.append(time.perf_counter() - wall)
        time.sleep(0.005)
    assert max(used) < 0.05 and statistics.median(took) < patient(0.05)
    os.kill(workerPid(monitor), signal.SIGKILL)
    start = time.monotonic()
    waitFor(monitor, handle, patient(5))
    assert time.monotonic() - start < patient(1)


def test_a_worker_that_cannot_start_is_told_with_its_words(
    storage: Storage, workerProcess: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('no module named something')")
    worker = workerProcess(storage.toolsSpool, python=[sys.executable, str(broken)])
    monitor = JobMonitor(storage.toolsSpool, worker)
    handle = submitted(monitor, steps(), "steps")
    waitFor(monitor, handle, patient(10))
    assert handle.state is State.FAILED
    assert handle.message is not None and "does not start" in handle.message
    assert "no module named something" in handle.details()


def test_a_missing_python_is_told_at_once_and_leaves_no_job(
    storage: Storage, workerProcess: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    worker = workerProcess(storage.toolsSpool, python=[str(tmp_path / "no-python")])
    monitor = JobMonitor(storage.toolsSpool, worker)
    with pytest.raises(InputError, match="could not be started"):
        submitted(monitor, steps(), "steps")
    assert monitor.active == []
    assert list(storage.toolsSpool.glob("*-*")) == []


@pytest.mark.slow(but="steps")
@pytest.mark.parametrize("kind", ["steps", "hang"])
def test_shutdown_returns_at_once_and_leaves_no_process(monitor: JobMonitor, worker: WorkerProcess, kind: str) -> None:
    handle, waiting = running(monitor, kind=kind), submitted(monitor, steps(), "steps")
    pids = [workerPid(monitor), worker._process.pid]  # type: ignore[union-attr]
    start = time.monotonic()
    monitor.shutdown()
    assert time.monotonic() - start < patient(0.6)
    assert waiting.state is State.CANCELLED and handle.state is State.CANCELLED
    assert list(monitor.spool.glob("*-*")) == [], "a reload leaves no job"
    end = time.monotonic() + patient(4)
    while any(process_alive(pid) for pid in pids):
        assert time.monotonic() < end, "a process remains"
        time.sleep(0.02)
    assert not worker.alive()


def test_after_a_shutdown_a_new_job_runs(monitor: JobMonitor) -> None:
    running(monitor)
    monitor.shutdown()
    handle = submitted(monitor, steps(1), "steps")
    waitFor(monitor, handle, patient(15))
    assert handle.state is State.DONE


def test_quitting_ends_the_process_and_the_job_is_offered_again(
    monitor: JobMonitor, worker: WorkerProcess, storage: Storage
) -> None:
    handle, waiting = running(monitor, steps(3, 0.3)), submitted(monitor, steps(2), "steps")
    finished = [workerPid(monitor), worker._process.pid]  # type: ignore[union-attr]
    start = time.monotonic()
    monitor.shutdown(keepJobs=True)
    assert time.monotonic() - start < patient(0.2)
    until(monitor, lambda: not any(process_alive(pid) for pid in finished))
    # The next session.
    later = JobMonitor(storage.synthesisSpool, worker, storage.exchange)
    left = later.unfinished()
    assert [job.state for job in left] == [State.INTERRUPTED] * 2
    assert all(job.message is not None and "interrupted" in job.message for job in left)
    assert [job.request["steps"] for job in left] == [3, 2]
    assert not handle.folder.path.exists() and not waiting.folder.path.exists()
    # A new job does not take them along.
    other = submitted(later, steps(1), "steps")
    waitFor(later, other, patient(15))
    assert len(later.unfinished()) == 2
    again = resumed(later, left[0])
    waitFor(later, again, patient(15))
    assert again.state is State.DONE
    assert len(later.unfinished()) == 1
    left[1].discard()
    assert later.unfinished() == []


def test_done_jobs_are_found_by_the_next_session_and_discarded(monitor: JobMonitor, storage: Storage) -> None:
    mask = storage.exchangeFile(".nrrd")
    image = storage.exchangeFile(".nrrd")
    outside = storage.root / "models" / "keep.nrrd"
    for path in (mask, image, outside):
        path.write_text("voxels")
    handle = submitted(monitor, steps(1, masks=[str(mask)], known=[f"T1={image}"], model=str(outside)), "steps")
    waitFor(monitor, handle, patient(20))
    found = JobMonitor(storage.synthesisSpool, monitor._worker, storage.exchange).done()
    assert [job.folder.path for job in found] == [handle.folder.path]
    assert (found[0].state, found[0].step) == (State.DONE, 1)
    found[0].discard()
    assert not handle.folder.path.exists()
    assert [path.exists() for path in (mask, image, outside)] == [False, False, True]
    handle.discard()  # twice does no harm
    monitor.poll()


def test_what_its_process_writes_last_does_not_keep_a_job(monitor: JobMonitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is told before the claim is given up, for which a file is made in the folder, at this very moment."""
    handle = submitted(monitor, steps(1), "steps")
    waitFor(monitor, handle, patient(20))
    remove, late = os.rmdir, handle.folder.path / "late"

    def rmdir(path: str, **options: object) -> None:
        if os.fspath(path) == str(handle.folder.path):
            monkeypatch.undo()
            late.touch()
        remove(path, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    handle.discard()
    assert not handle.folder.path.exists()


def test_a_running_job_is_not_discarded(monitor: JobMonitor) -> None:
    handle = running(monitor)
    with pytest.raises(InputError, match="Cancel it"):
        handle.discard()
    assert handle.folder.submitted


def test_the_end_of_slicer_ends_the_worker(storage: Storage, script: Path, tmp_path: Path) -> None:
    import subprocess

    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from MedDDPMSlicerLib.Job import Job\n"
        "from MedDDPMSlicerLib.Jobs import JobMonitor\n"
        "from MedDDPMSlicerLib.Processes import WorkerProcess\n"
        f"spool = Path({str(storage.synthesisSpool)!r})\n"
        f"monitor = JobMonitor(spool, WorkerProcess(spool, [sys.executable, {str(script)!r}, 'launcher']))\n"
        "handle = Job(monitor)\n"
        "handle.submit('steps', {'steps': 2000, 'seconds': 0.05})\n"
        "while handle.stage != 'sample':\n"
        "    monitor.poll(); time.sleep(0.02)\n"
        "print(monitor._worker._realPid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    paths = os.pathsep.join(str(CORE.parent / name) for name in ("MedDDPMCore", "MedDDPMSlicer"))
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()  # a crash: no exit handler runs
    process.wait()
    process.stdout.close()
    end = time.monotonic() + patient(8)
    while process_alive(pid):
        assert time.monotonic() < end, "an orphan remains"
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_spool_is_told_in_a_sentence(monitor: JobMonitor) -> None:
    monitor.spool.chmod(0o500)
    try:
        with pytest.raises(InputError, match=r"could not be submitted|cannot be made"):
            submitted(monitor, steps(), "steps")
    finally:
        monitor.spool.chmod(0o700)


def test_a_spool_that_is_a_file_is_told_in_a_sentence(
    tmp_path: Path, workerProcess: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "spool").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be made"):
        JobMonitor(tmp_path / "spool", workerProcess(tmp_path / "spool"))


def test_a_full_disk_is_told_in_a_sentence(monitor: JobMonitor, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"No space left on device\. Free space"):
            submitted(monitor, steps(), "steps")
    assert monitor.active == []
    assert not monitor._worker.alive()


def test_a_broken_observer_stops_nobody(monitor: JobMonitor) -> None:
    handle = submitted(monitor, steps(1), "steps")
    told = []

    def broken(_: Job) -> None:
        raise RuntimeError("a widget has gone")

    handle.observers += [broken, told.append]
    waitFor(monitor, handle, patient(20))
    assert handle in told


def test_a_job_that_ignores_cancelling_is_ended(monitor: JobMonitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "CANCEL_SECONDS", 0.3)
    handle = running(monitor, {}, "hang")
    handle.cancel()
    waitFor(monitor, handle, patient(5))
    assert handle.state is State.CANCELLED


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_jobs_and_logs_are_private(monitor: JobMonitor, storage: Storage) -> None:
    handle = submitted(monitor, steps(1), "steps")
    waitFor(monitor, handle, patient(20))
    for path in (storage.root, storage.synthesisSpool, storage.exchange, handle.folder.path, handle.folder.outputs):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (storage.synthesisSpool / "worker.log").stat().st_mode & 0o077 == 0


def test_steps_around_a_job_end_with_its_folder(monitor: JobMonitor, storage: Storage) -> None:
    told: list[Any] = []
    mask = storage.exchangeFile(".nrrd")
    mask.write_text("voxels")
    request = steps(1, masks=[str(mask)])
    read = lambda outputs: (outputs / "result").read_text()  # noqa: E731
    good = Job(monitor, ("steps", request), read, told.append, told.append)
    assert good.state is State.PREPARING and good.folder is None
    waitFor(monitor, good, patient(20))
    assert told == ["good"] and good.state is State.DONE
    assert good.folder is not None and not good.folder.path.exists() and not mask.exists()

    failing = Job(monitor, ("fail", {}), read, told.append, told.append)
    waitFor(monitor, failing, patient(20))
    assert told[1:] == ["The mask is empty. Paint one."] and "InputError" in failing.details()
    damaged = Job(monitor, ("steps", steps(1)), lambda outputs: 1 / 0, told.append, told.append)
    waitFor(monitor, damaged, patient(20))
    assert damaged.state is State.FAILED and len(told) == 3
    cancelled = Job(monitor, ("steps", steps(2000, 0.05)), read, told.append, told.append)
    until(monitor, lambda: cancelled.tick() or cancelled.state is State.RUNNING)
    cancelled.cancel()
    waitFor(monitor, cancelled, patient(10))
    early = Job(monitor, ("steps", steps(1)), read, told.append, told.append)
    early.cancel()
    assert (cancelled.state, early.state, len(told)) == (State.CANCELLED, State.CANCELLED, 3)
    assert list(monitor.spool.glob("*-*")) == [], "no folder is left"


def test_the_worker_alone_reads_what_was_asked(monitor: JobMonitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobFolder, "read", lambda _folder: 1 / 0)
    job = Job(monitor, ("steps", steps(1)), lambda outputs: None)
    waitFor(monitor, job, patient(20))
    assert job.state is State.DONE
