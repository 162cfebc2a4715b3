"""Starting a training that goes on by itself, whatever becomes of the program that started it. Imports no torch.

Processes of one training are started by ``torchrun`` (and ``fabric run``, which uses it), by SLURM's ``srun``, or by
Lightning Fabric itself, which starts further copies of the first process: ``launched`` says which one this is. The
order and the names of what they say in the environment are Fabric's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import open_regular
from ..jobs.folder import State
from ..jobs.owner import Held
from ..jobs.process import process_alive
from .run import RunFolder

MAX_LOG_BYTES = 1_000_000
# How long a process may take until it has claimed its run: the start of Python on a slow disk.
START_SECONDS = 60.0


def start(
    run: RunFolder,
    python: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    niceness: int = 0,
) -> int:
    """Train the run in a process of its own, detached from this one; returns its number (pid) at once.

    ``python`` is the interpreter with its leading arguments (none: the one that runs); ``environment`` is handed on
    with this ``medddpm`` first on PYTHONPATH; ``niceness`` is that of Unix, 0 to 19. What the process prints goes to
    ``process.txt``; its pid may be that of a launcher above the one in ``claim.json``. Earlier requests to pause or
    stop are withdrawn. Two processes never train one run: the second of two that start at once ends by itself.

    Raises ``owner.Held`` where a process trains it already (on any machine that shares the folder), and InputError
    where it is done, is no training, cannot be written, or the process cannot be started.
    """
    run.read()
    owner = run.claim.living_owner()
    if owner is not None:
        raise Held(
            f"The training {run.path} is in use by process {owner.pid} on {owner.host}. Pause or stop it there before "
            "you start it here."
        )
    if run.state() is State.DONE:
        raise InputError(f"The training {run.path} is done. To continue it, give it more iterations.")
    run.withdraw_requests()
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    command = [*(python or [sys.executable]), "-m", "medddpm.training", str(run.path.absolute())]
    try:
        log = run.process_log_path
        if os.path.lexists(log) and log.lstat().st_size > MAX_LOG_BYTES:
            log.unlink()
        with os.fdopen(open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, links=False), "ab", 0) as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=child_environment(os.environ if environment is None else environment),
                cwd=run.path.absolute(),
                **detached,
            )
    except OSError as exc:
        raise InputError(
            f"The training could not be started in {run.path} ({exc.strerror or exc}; program {command[0]}). "
            "Check that the folder can be written and the program is there."
        ) from exc
    if niceness and sys.platform != "win32":
        with contextlib.suppress(OSError):  # a site that forbids it, or a process that has ended
            os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    # Collects the process when it ends before this one does, so that no zombie stays.
    threading.Thread(target=process.wait, name="medddpm-training", daemon=True).start()
    return process.pid


def start_and_wait(run: RunFolder, python: Sequence[str] = ()) -> int:
    """As ``start``, and wait until the process has begun the run; returns its pid.

    Raises as ``start`` does, and InputError with the end of what the process printed where it ended or hung before.
    """
    before = run.events_size()
    pid = start(run, python)
    limit = time.monotonic() + START_SECONDS
    while not any(event.event == "started" for event in run.events(before)[0]):
        silent = not process_alive(pid) and run.events_size() == before
        if silent or time.monotonic() > limit:
            lines = run.process_log().strip().splitlines()
            said = lines[-1] if lines else "it printed nothing"
            raise InputError(f"The process of the training in {run.path} did not start: {said}. See process.txt there.")
        time.sleep(0.02)
    return pid


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with this very ``medddpm`` first, UTF-8, and output that is not held back."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, environment.get("PYTHONPATH", "")]
    ours = {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    return {**environment, **ours}


# Fabric does not take the tasks of an interactive SLURM session for processes of a group.
_INTERACTIVE = ("bash", "interactive")


@dataclass(frozen=True)
class Launch:
    """A process among those that were started together: ``rank`` of ``size``, ``local_size`` on each machine."""

    rank: int
    size: int
    local_size: int

    @property
    def nodes(self) -> int:
        """How many machines."""
        return max(1, self.size // self.local_size)


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What torchrun or SLURM say of this process; None where nobody has started several.

    Raises InputError where a number among what they say is none.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        size = _number(environment, "WORLD_SIZE", 1)
        return Launch(_number(environment, "RANK", 0), size, _number(environment, "LOCAL_WORLD_SIZE", size))
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in _INTERACTIVE:
        size = _number(environment, "SLURM_NTASKS", 1)
        nodes = _number(environment, "SLURM_NNODES", 1)
        return Launch(_number(environment, "SLURM_PROCID", 0), size, max(1, size // max(1, nodes)))
    return None


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process in its group: 0 for the first one, which alone writes, and for a single one."""
    launch = launched(environment)
    if launch is not None:
        return launch.rank
    # Fabric's own children know their place on the machine, and the machine's place.
    local, node = _number(environment, "LOCAL_RANK", 0), _number(environment, "NODE_RANK", 0)
    return local + node * max(1, _number(environment, "WORLD_SIZE", 1) - 1)


def _number(environment: Mapping[str, str], name: str, absent: int) -> int:
    text = environment.get(name, str(absent))
    if not text.isdecimal():
        raise InputError(
            f"The environment variable {name} is '{text}', but must be a number. It is set by torchrun or SLURM: start "
            "the training through these, or unset it."
        )
    return int(text)
