"""A worker of toy jobs in processes of its own, for the tests of the worker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from medddpm import errors
from medddpm.jobs import spool as spools
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.spool import submit
from patience import patient

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


def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait for the condition; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patient(seconds), "it did not happen"
        time.sleep(0.005)
    return time.monotonic() - began


def toy(spool: Path, name: str = "?", **request: object) -> JobFolder:
    """Submit a job for the worker of ``TOY``."""
    return submit(spool, {"name": name, "steps": 1, **request}, "toy")


def settled(*folders: JobFolder) -> bool:
    """Whether all of them have ended."""
    return all(folder.state() not in (State.PENDING, State.RUNNING) for folder in folders)


def worker_alive(spool: Path) -> bool:
    """Whether a worker serves this spool and is well."""
    owner = spools.lock(spool)
    return owner.fresh() and owner.living_owner() is not None


def stepped(folder: JobFolder) -> bool:
    """Whether it has told a step."""
    return any(event.event == "step" for event in folder.events()[0])


def made_spool(place: Path) -> Path:
    """An empty spool below ``place``, whose name is no ASCII."""
    path = place / "Warteschlange für ÄÖ 日本"
    path.mkdir()
    return path


@contextlib.contextmanager
def toy_workers(place: Path, spool: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts worker processes, from a script below ``place``; none survives the block."""
    script = place / "toy worker.py"
    script.write_text(TOY, encoding="utf-8")
    processes: list[subprocess.Popen[str]] = []

    def launch(wait: bool = True, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(spool), repr({"idle_seconds": 30.0, **options})]
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        if wait:
            until(lambda: (owner := spools.lock(spool).owner()) is not None and owner.pid == process.pid)
        return process

    try:
        yield launch
    finally:
        for process in processes:
            process.kill()
            process.communicate()
