"""The private folders, sliced tasks, and the worker's environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from medddpm.errors import InputError
from medddpm.jobs.events import Event, State
from medddpm.jobs.owner import OwnerFile
from medddpm.jobs.spool import submit
from MedDDPMSlicerLib import Processes
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Jobs import JobMonitor
from MedDDPMSlicerLib.Processes import WorkerProcess, slicerPython, workerEnvironment
from MedDDPMSlicerLib.Storage import Storage, defaultStorage, jobFolders
from patience import patient
from waiting import runToEnd, submitted, waitFor


def otherProcess(root: Path) -> subprocess.Popen[str]:
    """Another Slicer that uses the same root, until its input ends; it submitted one job."""
    code = (
        "import sys; from pathlib import Path\n"
        "from MedDDPMSlicerLib.Storage import Storage\n"
        "from medddpm.jobs.spool import submit\n"
        f"storage = Storage(Path({str(root)!r}))\n"
        "submit(storage.toolsSpool, {'mask': 'x'}, 'check')\n"
        "print(storage.seat.name, flush=True)\n"
        "sys.stdin.read()\n"
    )
    paths = os.pathsep.join(path for path in sys.path if "MedDDPM" in path)
    environment = {**os.environ, "PYTHONPATH": paths}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], text=True, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


def test_folders_are_private_and_apart(storage: Storage) -> None:
    folders = [storage.synthesisSpool, storage.toolsSpool, storage.exchange, storage.models]
    assert len(set(folders)) == 4
    for folder in [storage.root, storage.seat, *folders]:
        assert folder.is_dir()
        assert os.name != "posix" or folder.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert Storage(tmp_path / "open").root.stat().st_mode & 0o077 == 0


def test_two_slicers_do_not_share_jobs_and_the_dead_are_inherited(tmp_path: Path, storage: Storage) -> None:
    process = otherProcess(storage.root)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline().strip() == "seat-2"
    assert Storage(storage.root).seat == storage.seat  # the same process, as after a reload
    assert list(jobFolders(storage.toolsSpool)) == []
    assert "One job is" in storage.clear()
    process.stdin.close()
    process.wait(patient(10))
    process.stdout.close()
    later = Storage(storage.root)
    left = list(jobFolders(later.toolsSpool))
    assert [folder.path.name[:6] for folder in left] == [".kept-"]
    monitor = JobMonitor(later.toolsSpool, WorkerProcess(later.toolsSpool))
    assert [handle.state for handle in monitor.unfinished()] == [State.INTERRUPTED]
    assert monitor.unfinished()[0].kind == "check"


def test_clearing_keeps_what_is_needed_and_says_so(storage: Storage) -> None:
    done, waiting = submit(storage.synthesisSpool, {}), submit(storage.synthesisSpool, {})
    done.append(Event("done", message="The job is done.", exit_code=0))
    mask = storage.exchangeFile(".nrrd")
    mask.write_bytes(b"0" * 3_000_000)
    (storage.models / "mine").mkdir()
    (storage.models / "mine" / "config.json").write_text("{}")
    assert storage.sizeBytes() > 3_000_000
    assert "One job is still waiting or running" in storage.clear()
    assert not done.path.exists() and waiting.path.exists() and mask.exists()
    waiting.append(Event("cancelled", exit_code=3))
    assert "were deleted" in storage.clear()
    assert not waiting.path.exists() and not mask.exists()
    assert (storage.models / "mine").exists()
    storage.clear(includeModels=True)
    assert list(storage.models.iterdir()) == []
    assert storage.sizeBytes() < 10_000


def test_exchange_files_have_names_that_say_nothing(storage: Storage) -> None:
    names = {storage.exchangeFile(".nrrd").name for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 32 + len(".nrrd") for name in names)


def test_a_root_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        Storage(tmp_path / "file" / "below")


def test_a_damaged_owner_file_does_not_lock_us_out(tmp_path: Path) -> None:
    seat = tmp_path / "root" / "seat-1"
    seat.mkdir(parents=True)
    (seat / "owner.json").write_text("nonsense")
    assert Storage(tmp_path / "root").seat == seat
    assert OwnerFile(seat / "owner.json").owner().pid == os.getpid()  # type: ignore[union-attr]


def test_the_default_lies_beside_slicers_settings(
    application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDDDPM_STORAGE", raising=False)
    assert defaultStorage().root == Path(slicer.app.slicerUserSettingsFilePath).parent / "MedDDPM"
    monkeypatch.setenv("MEDDDPM_STORAGE", str(tmp_path / "elsewhere"))
    assert defaultStorage().root == tmp_path / "elsewhere"


def test_the_workers_environment_is_slicers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/somewhere")
    monkeypatch.setenv("PYTHONPATH", "inherited")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = workerEnvironment()
    first, last = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "medddpm" / "jobs" / "worker.py").is_file()
    assert last == "inherited"
    assert "PYTHONHOME" not in environment
    assert environment["PYTHONNOUSERSITE"] == "1"
    assert environment["OMP_NUM_THREADS"] == "3"


@pytest.mark.skipif(os.name != "posix", reason="a script as a program")
def test_pythonslicer_beside_the_application_is_taken(application: Any, tmp_path: Path, monkeypatch: Any) -> None:
    program = tmp_path / "Slicer with spaces" / "bin" / "PythonSlicer"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.delenv("MEDDDPM_WORKER_PYTHON", raising=False)
    monkeypatch.setattr(slicer.app, "slicerHome", str(program.parent.parent))
    assert slicerPython() == [str(program)]
    monkeypatch.setattr(slicer.app, "slicerHome", "")
    assert slicerPython() == [sys.executable]
    # Inside the application the executable is no Python.
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    with pytest.raises(InputError, match="PythonSlicer"):
        slicerPython()
    monkeypatch.setenv("MEDDDPM_WORKER_PYTHON", "/opt/python3")
    assert slicerPython() == ["/opt/python3"]


def test_the_real_worker_runs_where_no_other_package_is_found(
    storage: Storage, workerProcess: Callable[..., WorkerProcess]
) -> None:
    """``python -m medddpm.jobs`` with the environment we give it: it starts, and refuses an unknown kind in words."""
    monitor = JobMonitor(storage.toolsSpool, workerProcess(storage.toolsSpool, idleSeconds=0.3))
    handle = submitted(monitor, {}, "no-such-kind")
    waitFor(monitor, handle, patient(30))
    assert handle.state is State.FAILED
    assert handle.message is not None and "known here are" in handle.message
    end = time.monotonic() + patient(5)
    while monitor._worker.alive():  # it leaves when it is idle
        assert time.monotonic() < end
        time.sleep(0.05)
    assert monitor._worker.exitCode == 0
    # A new job finds a new worker.
    again = submitted(monitor, {}, "no-such-kind")
    waitFor(monitor, again, patient(30))
    assert again.state is State.FAILED


@pytest.mark.processes
def test_a_real_synthesis_runs_in_the_worker(
    storage: Storage, workerProcess: Callable[..., WorkerProcess], modelFolder: Path
) -> None:
    import numpy as np
    from medddpm.geometry.volume import Volume
    from MedDDPMSlicerLib.Volumes import saveVolume
    from scene_phantoms import brain, placed

    mask = storage.exchangeFile(".nrrd")
    saveVolume(Volume(brain(), placed("LPS", (5.0, 5.0, 5.0))), mask)
    monitor = JobMonitor(storage.synthesisSpool, workerProcess(storage.synthesisSpool), storage.exchange)
    request = {"masks": [str(mask)], "model": str(modelFolder), "device": "cpu", "labels": "1=1,2=2,3=3,4=4"}
    handle = submitted(monitor, request)
    stages: list[str | None] = []
    handle.observers.append(lambda h: stages.append(h.stage))
    waitFor(monitor, handle, patient(30))
    assert handle.state is State.DONE, handle.details()
    assert {"load", "sample"} <= {stage for stage in stages if stage}
    assert {path.name.split(".")[0].rpartition("_")[2] for path in handle.folder.outputs.rglob("*.nii*")} >= {
        "T1",
        "FLAIR",
    }
    assert str(mask) not in handle.details()
    handle.discard()
    assert not mask.exists()
    assert np.isfinite(storage.sizeBytes())


def test_the_log_stays_small(storage: Storage, workerProcess: Callable[..., WorkerProcess], monkeypatch: Any) -> None:
    monkeypatch.setattr(Processes, "MAX_LOG_BYTES", 10)
    process = workerProcess(storage.toolsSpool)
    process.logPath.write_text("a former worker said much")
    process.ensure()
    assert "former" not in process.logTail()
    process.kill()
    assert not process.alive()


def counting(slept: list[int], result: Any = None, error: Exception | None = None) -> Iterator[None]:
    """Five stretches of work."""
    for number in range(5):
        slept.append(number)
        yield
    if error is not None:
        raise error
    return result


class Clock:
    """A clock that goes on by 20 ms at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.02
        return self.now


def test_a_task_works_in_slices() -> None:
    slept: list[int] = []
    done: list[Any] = []
    errors: list[Exception] = []
    task = SlicedTask(counting(slept, "result"), done.append, errors.append, Clock())  # type: ignore[arg-type]
    assert not task.step(0.05)
    assert 1 <= len(slept) < 5
    while not task.step(0.05):
        pass
    assert (done, errors, len(slept)) == (["result"], [], 5)
    assert task.step()
    runToEnd(task)
    assert done == ["result"]


def test_an_error_ends_a_task_and_a_cancelled_one_says_nothing() -> None:
    done: list[Any] = []
    errors: list[Exception] = []
    failing = SlicedTask(counting([], error=InputError("No.")), done.append, errors.append)  # type: ignore[arg-type]
    runToEnd(failing)
    assert [str(error) for error in errors] == ["No."]
    slept: list[int] = []
    cancelled = SlicedTask(counting(slept), done.append, errors.append, Clock())  # type: ignore[arg-type]
    cancelled.step(0.0)
    cancelled.cancel()
    runToEnd(cancelled)
    assert (cancelled.finished, len(slept), done, len(errors)) == (True, 1, [], 1)


def test_the_library_is_imported_without_qt_torch_or_nibabel() -> None:
    code = (
        "import sys, json, importlib, pathlib\n"
        "names = sorted(p.stem for p in pathlib.Path(sys.argv[1]).glob('*.py') if p.stem != '__init__')\n"
        "[importlib.import_module('MedDDPMSlicerLib.' + name) for name in names]\n"
        "print(json.dumps([names, [n for n in ('qt', 'ctk', 'torch', 'nibabel', 'SimpleITK') if n in sys.modules]]))\n"
    )
    paths = os.pathsep.join(path for path in sys.path if "MedDDPM" in path)
    folder = Path(Processes.__file__).parent
    found = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
    )
    names, heavy = json.loads(found.stdout.splitlines()[-1])
    assert {"Storage", "Jobs", "SegmentMasks", "Background", "Dependencies"} <= set(names)
    assert heavy == []
