"""Waiting for what goes on in the background, without the application's event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from medddpm.errors import MedDDPMError
from medddpm.jobs import spool as spools
from MedDDPMSlicerLib.Job import Job
from patience import patient

# Long enough for a process to import torch on a busy machine.
SECONDS = patient(30)


def pollUntil(service: Any, condition: Callable[[], object], seconds: float = 30) -> None:
    """Let a service go on until ``condition`` holds; fails where it does not in time."""
    end = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        service.poll()
        time.sleep(0.01)


def waitFor(monitor: Any, job: Any, seconds: float) -> None:
    """Let the jobs of a monitor go on until one has ended and its observers know; fails where it does not in time."""
    end = time.monotonic() + seconds
    while not (job.finished and job.told):
        assert time.monotonic() < end, "the job has not ended in time"
        job.tick()
        monitor.poll()
        time.sleep(0.02)


def submitted(monitor: Any, request: dict[str, Any], kind: str = "synthesis") -> Job:
    """A job at the end of the queue of a monitor, whose folder stays."""
    job = Job(monitor)
    try:
        job.submit(kind, request)
    except MedDDPMError as exc:
        job.fail(exc)
        raise
    return job


def resumed(monitor: Any, job: Job) -> Job:
    """The new run of a job that has ended."""
    assert job.folder is not None
    return monitor.follow(spools.requeue(job.folder))


def runToEnd(task: Any) -> None:
    """Let a SlicedTask work until it has ended."""
    while not task.finished:
        task.step(0.0)
