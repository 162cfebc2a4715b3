"""The worker as a process of its own: started, watched, asked to leave, and ended with all it started."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import medddpm
from medddpm.errors import InputError
from medddpm.files import read_tail
from medddpm.jobs import spool as spools
from medddpm.jobs.process import process_alive

logger = logging.getLogger(__name__)

IDLE_SECONDS = 600.0
# Politeness of the worker (nice of Unix; 0 is that of Slicer, 19 the most).
NICENESS = 5
MAX_LOG_BYTES = 1_000_000
TAIL_BYTES = 16_000
PYTHON_VARIABLE = "MEDDDPM_WORKER_PYTHON"
_WINDOWS = os.name == "nt"


class WorkerProcess:
    """The process that serves one spool: ``PythonSlicer -m medddpm.jobs SPOOL --parent <this process>``.

    ``python`` is the interpreter with its leading arguments; by default the one of this Slicer. Nothing here waits for
    the process. Its output goes to ``worker.log`` in the spool, readable by the user alone. It leaves by itself after
    ``idleSeconds`` without a job and when this process has ended.
    """

    def __init__(self, spool: Path, python: Sequence[str] | None = None, idleSeconds: float = IDLE_SECONDS) -> None:
        self.spool = Path(spool)
        self.logPath = self.spool / "worker.log"
        self._python = list(python) if python is not None else None
        self._idleSeconds = idleSeconds
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    def ensure(self) -> None:
        """Start the worker where none serves the spool; returns at once. Raises InputError where that is impossible."""
        if self.alive():
            return
        with contextlib.suppress(OSError):
            spools.stop_path(self.spool).unlink(missing_ok=True)
        self._process = self._start()

    def alive(self) -> bool:
        """Whether the process runs, or one of a former load of the module that serves the same spool. Costs little."""
        return (self._process is not None and self._process.poll() is None) or self._realPid() is not None

    @property
    def exitCode(self) -> int | None:
        """How the process that was started last ended; None while it runs or where none was started.

        Negative: the number of the signal that ended it (POSIX).
        """
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End the process and all it started, now. Does nothing where nothing runs; never raises."""
        process, realPid = self._process, self._realPid()
        if process is not None and (process.poll() is None or realPid is not None):
            _kill(process.pid, tree=True)
        if realPid is not None and process_alive(realPid):
            # PythonSlicer is a launcher: the interpreter below it can outlive it, and lie in another group.
            _kill(realPid)
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)  # collects it, so that no zombie stays

    def logTail(self) -> str:
        """The last part of what the process wrote, to be shown behind "Details"; empty where there is nothing."""
        return read_tail(self.logPath, TAIL_BYTES)

    def _realPid(self) -> int | None:
        """The interpreter that serves the spool, by its ownership file; None where there is none alive."""
        owner = spools.lock(self.spool).living_owner()
        return None if owner is None or owner.pid == os.getpid() else owner.pid

    def _start(self) -> subprocess.Popen[bytes]:
        spools.open_spool(self.spool)
        command = [*(self._python or slicerPython()), "-m", "medddpm.jobs", str(self.spool)]
        command += ["--idle-seconds", str(self._idleSeconds), "--parent", str(os.getpid())]
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            with contextlib.suppress(OSError):
                if self.logPath.stat().st_size > MAX_LOG_BYTES:
                    self.logPath.unlink()
            with os.fdopen(os.open(self.logPath, flags, 0o600), "ab", buffering=0) as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=workerEnvironment(),
                    **_groupOptions(),
                )
            if not _WINDOWS:  # where ``_groupOptions`` does it: Slicer's windows have the processor first
                with contextlib.suppress(OSError):  # a site that forbids it
                    os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            return process
        except OSError as exc:
            raise InputError(
                f"The background process that computes could not be started ({exc.strerror or exc}): {command[0]}. "
                "Check that Slicer is installed completely, and that its folder and the disk can be used."
            ) from exc


def slicerPython() -> list[str]:
    """The command of this Slicer's Python: ``PythonSlicer`` beside the application, else the running interpreter.

    The environment variable ``MEDDDPM_WORKER_PYTHON`` names another one (a site's own with torch, or that of a test).
    Raises InputError where none is there.
    """
    if os.environ.get(PYTHON_VARIABLE):
        return [os.environ[PYTHON_VARIABLE]]
    import slicer

    # In installed Slicers it is in bin; some built ones have it above.
    home = getattr(getattr(slicer, "app", None), "slicerHome", None)
    for place in (f"{home}/bin", home, None) if isinstance(home, str) and home else (None,):
        found = shutil.which("PythonSlicer", path=place)
        if found:
            return [found]
    # Inside an application sys.executable can be the application itself, which must not be started again.
    candidates = [Path(sys.executable or "-"), Path(sys.exec_prefix) / "bin" / "python3"]
    for candidate in candidates:
        if "python" in candidate.name.lower() and candidate.is_file():
            return [str(candidate)]
    raise InputError("Slicer's own Python (PythonSlicer) was not found. Install Slicer again, with all of its files.")


def workerEnvironment() -> dict[str, str]:
    """The environment of the worker: ours, with this very ``medddpm`` first and no packages of the user's own Python.

    ``PYTHONHOME`` is left out: Slicer's launcher sets its own, and any other interpreter would be broken by it.
    """
    environment = dict(os.environ)
    environment.pop("PYTHONHOME", None)
    paths = [str(Path(medddpm.__file__).resolve().parent.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["PYTHONNOUSERSITE"] = "1"
    environment["PYTHONUTF8"] = "1"
    return environment


def _groupOptions() -> dict[str, object]:
    """Options of Popen that give the process a group of its own, and on Windows no console window."""
    if _WINDOWS:
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW  # type: ignore[attr-defined]
        return {"creationflags": flags | subprocess.BELOW_NORMAL_PRIORITY_CLASS}  # type: ignore[attr-defined]
    return {"start_new_session": True}


def _kill(pid: int, tree: bool = False) -> None:
    """End a process, or with its children one that ``_groupOptions`` started."""
    if not _WINDOWS:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL) if tree else os.kill(pid, signal.SIGKILL)
        return
    try:
        subprocess.Popen(
            ["taskkill", "/T", "/F", "/PID", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,  # type: ignore[attr-defined]
        )
    except OSError as exc:
        logger.warning("taskkill could not be started: %s", exc.strerror)
