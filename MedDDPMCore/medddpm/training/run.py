"""A training run as a folder: a job folder of kind "training", which goes on wherever it is opened. Imports no torch.

====================  ===============================================================================
``job.json``          the request: the fields of ``TrainConfig``, with an absolute ``dataset``
``events.jsonl``      as in every job; also verdict (stage: its kind, message: its sentence) and paused
``cancel``, ``pause`` ask to stop; a checkpoint is written first, and the run can go on later
``claim.json``        the process that trains, its heartbeat; also over a shared disk
``log.txt``           technical detail
``process.txt``       what a detached process printed
``metrics.jsonl``     the figures of the course (``medddpm.training.metrics``)
``loss.png``          training and validation loss over iterations
``samples/``          images of held-out masks, made on the way
``checkpoints/``      what an exact resume needs
``outputs/model/``    the model folder with the newest averaged weights
====================  ===============================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_tail, write_text
from ..jobs.events import FINAL, MAX_LINE, Event
from ..jobs.folder import Job, JobFolder, State
from ..jobs.outcome import Outcome
from ..parse import from_dict
from .config import TrainConfig
from .metrics import RESUMED, MetricsLog, number

KIND = "training"
MAX_ITERATIONS = 10**9
_TAIL_BYTES = 16_000
# Folders in which a killed process can leave half-written files under temporary names.
_WRITTEN = ("checkpoints", "samples", "outputs")


class RunFolder(JobFolder):
    """One training run; creating the object touches nothing on the disk."""

    noun = "training"
    most_attempts = 10**9

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.metrics = MetricsLog(self.path)
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.model = self.outputs / "model"
        self.process_log_path = self.path / "process.txt"
        self._pause_path = self.path / "pause"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The run in an existing folder. Raises InputError with a sentence where the folder holds none."""
        run = cls(path)
        if not run.submitted:
            raise InputError(f"{run.path} is not a training folder: it has no job.json. Name one that has.")
        run.read()
        return run

    def create(self, request: TrainConfig | dict[str, Any], kind: str = KIND) -> Job:
        """Make the folder with the configuration of the training in ``job.json``.

        An empty folder may be there already. Raises InputError where it is not empty, cannot be written, or a field of
        the configuration does not fit.
        """
        config = request if isinstance(request, TrainConfig) else from_dict(TrainConfig, request, "The training")
        if (self.path / "job.json").exists():
            raise InputError(f"{self.path} already holds a training. Resume it or name another folder.")
        with contextlib.suppress(OSError):
            self.path.rmdir()  # only an empty one goes, to be made again with the right permissions
        return super().create(_absolute(config.to_dict()), kind)

    def read(self) -> Job:
        """The job. Raises InputError where ``job.json`` is none of a training; see ``JobFolder.read``."""
        job = super().read()
        if job.kind != KIND:
            raise InputError(f"{self.path} holds a job of kind '{job.kind}', not a training. Name another folder.")
        return job

    def config(self) -> TrainConfig:
        """The configuration, checked. Raises InputError naming the file and the field."""
        return from_dict(TrainConfig, self.read().request, str(self.path / "job.json"))

    def request_pause(self) -> None:
        """Ask the training to write a checkpoint and end, to go on later. Raises InputError on a full disk."""
        write_text(self._pause_path, "")

    @property
    def pause_requested(self) -> bool:
        """Whether someone asked the training to pause. Costs microseconds."""
        return os.path.lexists(self._pause_path)

    def withdraw_requests(self) -> None:
        """Take back requests to pause or stop: for whoever starts the run on purpose, and for the run that ended."""
        self.withdraw_cancel()
        with contextlib.suppress(OSError):
            self._pause_path.unlink(missing_ok=True)

    def extend(self, iterations: int) -> None:
        """Let the run go on to ``iterations`` in all, when it is started next; raises as ``reconfigure`` does."""
        self.reconfigure({"iterations": iterations})

    def reconfigure(self, fields: Mapping[str, Any]) -> None:
        """Let the run go on with other values of fields of its request, when it is started next; it may have been done.

        Whether this is still the same training, nobody asks here: see ``resume.require_same``. Raises ``owner.Held``
        while a process trains it, and InputError where fewer iterations are asked for than are done, or ``job.json``
        cannot be read or written.
        """
        job = self.read()
        request = _absolute({**job.request, **fields})
        done, iterations = self.summary().iteration, request["iterations"]
        if not max(1, done) <= iterations <= MAX_ITERATIONS:
            raise InputError(
                f"{self.path} has done {done} iterations, so it cannot be continued to {iterations}. Ask for more."
            )
        before = self.state()
        self.claim.take(f"The training {self.path}")
        try:
            write_text(
                self.path / "job.json", json.dumps(asdict(replace(job, request=request)), allow_nan=False, indent=1)
            )
            if before is State.DONE and iterations > done:
                self.append(Event("queued", message=f"To be continued to {iterations} iterations."))
        except OSError as exc:
            raise InputError(f"{self.path} cannot be written: {exc.strerror}. Free space or move the run.") from exc
        finally:
            # A run whose process died stays interrupted.
            self.claim.abandon() if before is State.INTERRUPTED else self.claim.release()

    def prepare(self) -> None:
        """As of a job; also deletes half-written files of checkpoints and samples."""
        super().prepare()
        for name in _WRITTEN:
            self.tidy(self.inside(name))

    def finish(self, outcome: Outcome) -> None:
        """As of a job; requests to pause or stop are honored by now."""
        super().finish(outcome)
        self.withdraw_requests()

    def summary(self) -> RunSummary:
        """Where the run stands, read from its files; never raises, whatever state they are in."""
        request: Mapping[str, Any] = {}
        problem = None
        try:
            request = self.read().request
        except InputError as exc:
            problem = str(exc)
        state, events = self.state(), self.recent_events()
        latest = self.metrics.latest(("train", "validation", "verdict"))
        end = _newest(events, (*FINAL, "queued", "started"))
        verdict = latest.get("verdict", {})
        name, dataset, kind, sentence = (
            value if isinstance(value, str) else None
            for value in (request.get("name"), request.get("dataset"), verdict.get("verdict"), verdict.get("sentence"))
        )
        total = request.get("iterations")
        return RunSummary(
            path=self.path,
            state=state,
            name=name or self.path.name,
            dataset=dataset or "",
            iteration=_iteration(_newest(events, ("step",)), self.metrics),
            total=total if type(total) is int else 0,
            loss=number(latest.get("train"), "loss"),
            validation=number(latest.get("validation"), "loss"),
            verdict=kind,
            sentence=sentence,
            seconds_left=_seconds_left(state, _newest(events, ("step", "queued", "started"))),
            message=end.message if end is not None else None,
            model=self.model if (self.model / "config.json").is_file() else None,
            updated=events[-1].time if events else None,
            problem=problem,
        )

    def recent_events(self) -> list[Event]:
        """The last events (those in the last 128 KB); empty where there are none or they cannot be read."""
        with contextlib.suppress(OSError, InputError):
            return self.events(max(0, self.events_size() - 2 * MAX_LINE))[0]
        return []

    def events_size(self) -> int:
        """Bytes of ``events.jsonl`` now: the offset of what comes next."""
        try:
            return (self.path / "events.jsonl").lstat().st_size
        except OSError:
            return 0

    def process_log(self) -> str:
        """The last part of what detached processes of this run printed; empty where there is nothing."""
        return read_tail(self.process_log_path, _TAIL_BYTES)


def find_runs(root: str | os.PathLike[str], depth: int = 2) -> list[RunFolder]:
    """The training runs in ``root`` (itself one, or those down to ``depth`` folders below), by path; links are none.

    Raises InputError where ``root`` cannot be read; what cannot be read below is left out.
    """
    run = RunFolder(root)
    if (run.path / "job.json").is_file():
        try:
            run.read()
        except InputError:  # told of as a run where checkpoints lie beside it
            return [run] if run.checkpoints.is_dir() or run.metrics.path.is_file() else []
        return [run]
    try:
        with os.scandir(root) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False))
    except OSError as exc:
        raise InputError(f"The folder {root} cannot be read: {exc.strerror}. Name one with training runs.") from exc
    found: list[RunFolder] = []
    for name in names if depth > 0 else []:
        with contextlib.suppress(InputError):
            found += find_runs(run.path / name, depth - 1)
    return found


def _absolute(request: dict[str, Any]) -> dict[str, Any]:
    """The request with whole paths, since the run may be continued from elsewhere."""
    start = request.get("start_from")
    whole = {"start_from": str(Path(start).absolute())} if start and Path(start).exists() else {}
    return {**request, "dataset": str(Path(request["dataset"]).absolute()), **whole}


@dataclass(frozen=True)
class RunSummary:
    """A training run at a moment.

    ``iteration`` of ``total`` are finished (0 where that is not known); ``loss`` and ``validation`` are the newest
    figures; ``verdict`` is improving, flat, diverging, overfitting, memorizing or early,
    ``sentence`` says the same in words. ``seconds_left`` counts from now and is there while it runs only.
    ``message`` is the sentence of the last end; ``model`` the model folder once there is one; ``updated`` (seconds
    since 1970) the time of the last sign of life; ``problem`` says why ``job.json`` cannot be used.
    """

    path: Path
    state: State
    name: str
    dataset: str
    iteration: int
    total: int
    loss: float | None = None
    validation: float | None = None
    verdict: str | None = None
    sentence: str | None = None
    seconds_left: float | None = None
    message: str | None = None
    model: Path | None = None
    updated: float | None = None
    problem: str | None = None


def _newest(events: Sequence[Event], kinds: tuple[str, ...]) -> Event | None:
    return next((event for event in reversed(events) if event.event in kinds), None)


def _iteration(step: Event | None, metrics: MetricsLog) -> int:
    """What the newest of all figures says: after a kill, the resumed run begins below the last one seen."""
    known: list[tuple[float, int]] = [(step.time, step.step)] if step is not None and step.step is not None else []
    newest = next((metric for metric in metrics.newest_first() if metric["kind"] in ("train", RESUMED)), None)
    known += [(number(newest, "time") or 0.0, newest["iteration"])] if newest is not None else []
    return max(0, max(known)[1]) if known else 0


def _seconds_left(state: State, newest: Event | None) -> float | None:
    """From ``newest`` of steps and starts: what was told before a pause says nothing about the time after it."""
    if state is not State.RUNNING or newest is None or newest.seconds_left is None:
        return None
    return max(0.0, newest.seconds_left - max(0.0, time.time() - newest.time))
