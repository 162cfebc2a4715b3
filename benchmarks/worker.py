"""How long the second job waits in the warm worker, between its submission and its first sampling step."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from medddpm.errors import MedDDPMError
from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.spool import request_stop, submit
from medddpm.models.places import find_config, find_model
from medddpm.synthesis.request import SynthesisRequest

from .common import Requirement, Suite, Table
from .phantom import SHAPE, SPACING, write_phantom
from .volumes import environment

MAX_WAIT = 0.3
POLL_SECONDS, JOB_TIMEOUT = 0.05, 1800.0


@dataclass(frozen=True)
class WorkerSettings:
    """``jobs`` are measured after a first one that loads the model; each has its mask edited (the tumor moved)."""

    model: str = "demo"
    jobs: int = 5
    steps: int = 5
    precision: str = "auto"
    shape: tuple[int, int, int] = SHAPE
    spacing: tuple[float, float, float] = SPACING


@dataclass(frozen=True)
class Wait:
    """Seconds from the submission of a job until ...

    the worker ``started`` it, the model was ``loaded`` (and time and memory estimated), its mask was ``prepared``, its
    ``first_step`` began, and that step was finished. ``step`` is the duration of a step.
    """

    started: float
    loaded: float
    prepared: float
    first_step: float
    finished_step: float
    step: float


def wait_of(events: Sequence[Event], submitted: float) -> Wait:
    """Read the waits off a job's events; ``submitted`` is the time just before the submission.

    The first "step" event is written when that step is finished: its beginning is the event's time less the duration
    of a step, which the later events tell. Raises MedDDPMError where there are fewer than two of them.
    """
    times = {e.stage or e.event: e.time for e in reversed(events) if e.event in ("started", "stage")}
    steps = [(e.step, e.time) for e in events if e.event == "step" and e.step is not None]
    if len(steps) < 2 or not times.keys() >= {"started", "prepare", "sample"}:
        raise MedDDPMError("The job reported fewer than two sampling steps. Measure with more --steps.")
    pairs = itertools.pairwise(steps)
    step = statistics.median((after[1] - before[1]) / (after[0] - before[0]) for before, after in pairs)
    finished = steps[0][1] - submitted
    first = finished - step * steps[0][0]
    started, loaded, prepared = (times[name] - submitted for name in ("started", "prepare", "sample"))
    return Wait(started, loaded, prepared, first, finished, step)


def run(settings: WorkerSettings) -> Suite:
    """Start a worker, give it one job to warm up and then the measured ones, one after the other."""
    waits = measure(settings)
    names = ["first (loads the model)", *(str(i + 2) for i in range(settings.jobs))]
    rows = tuple((name, *astuple(wait)) for name, wait in zip(names, waits, strict=True))
    columns = ("job", "started", "model ready", "mask ready", "first step begins", "first step done", "a step takes")
    worst = max(wait.first_step for wait in waits[1:])
    return Suite(
        {**asdict(settings), "model": Path(settings.model).name},
        (Table("Seconds after the submission of a job", columns, rows),),
        (Requirement("submission to first step, warm, slowest job", worst, "at most", MAX_WAIT, "s"),),
        (_NOTE,),
    )


_NOTE = (
    "The worker writes an event when a step is finished, not when it begins: the beginning of the first step is that "
    "event's time less the median duration of the following steps. Every job has another mask."
)


def measure(settings: WorkerSettings) -> list[Wait]:
    """The waits of the warm-up job and of every measured one."""
    config = find_config(settings.model)
    with tempfile.TemporaryDirectory() as name:
        masks = [Path(name) / f"mask-{i}.nii.gz" for i in range(settings.jobs + 1)]
        for i, mask in enumerate(masks):
            write_phantom(mask, config, shift_mm=2.0 * i, shape=settings.shape, spacing=settings.spacing)
        spool = Path(name) / "spool"
        with _worker(spool) as process:
            return [_one_job(spool, process, mask, settings) for mask in masks]


@contextmanager
def _worker(spool: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "medddpm.jobs", str(spool), "--parent", str(os.getpid())]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        yield process
        request_stop(spool)
        process.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()


def _one_job(spool: Path, process: subprocess.Popen[str], mask: Path, settings: WorkerSettings) -> Wait:
    request = SynthesisRequest(
        (str(mask),), str(find_model(settings.model).resolve()), steps=settings.steps, precision=settings.precision
    )
    submitted = time.time()
    folder = submit(spool, request.to_dict())
    while folder.state() in (State.PENDING, State.RUNNING):
        if process.poll() is not None:
            raise MedDDPMError(
                f"The worker ended with code {process.returncode}: {process.stderr.read() if process.stderr else ''}"
            )
        if time.time() - submitted > JOB_TIMEOUT:
            raise MedDDPMError(f"The job took longer than {JOB_TIMEOUT:.0f} s. Measure with a smaller model.")
        time.sleep(POLL_SECONDS)
    return wait_of(_events(folder), submitted)


def _events(folder: JobFolder) -> list[Event]:
    events, _ = folder.events()
    if folder.state() is not State.DONE:
        reason = next((e.message for e in reversed(events) if e.message), "no reason was given")
        raise MedDDPMError(f"The measured job did not succeed: {reason}")
    return events
