"""Starting, pausing, stopping and continuing trainings, each a process of its own that outlives Slicer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.jobs.folder import State
from medddpm.jobs.process import process_alive
from medddpm.training.launch import start
from medddpm.training.run import RunFolder
from medddpm.training.summary import RunSummary
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.JobHandles import logTail
from MedDDPMSlicerLib.PlainSentences import plainSentence
from MedDDPMSlicerLib.Processes import NICENESS, slicerPython, workerEnvironment

from .Runs import Runs, requireRun

# A process that has not begun its run after this time is looked at (seconds).
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class _Launch:
    """A process that was started: its number, and the length of the run's events before."""

    pid: int
    eventsBefore: int


class RunControl(Observed):
    """What a user does with runs; all of it through their folders, so that it works on other computers' runs, too.

    Nothing here ends a process: trainings go on when Slicer is closed. ``python``: their interpreter, None for
    Slicer's own. ``problems`` tells of processes that ended before they began their run: folder -> sentence.
    """

    def __init__(
        self, runs: Runs, python: Sequence[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.problems: dict[Path, str] = {}
        self._runs, self._python, self._clock = runs, python, clock
        self._launches: dict[Path, _Launch] = {}
        self._looked = clock()

    def begin(self, folder: str | Path, config: Any) -> Path:
        """Make the folder of a new run with its ``TrainConfig`` and start it; returns the folder at once.

        Raises InputError where the folder is taken or cannot be written, or the process cannot be started.
        """
        run = RunFolder(Path(folder).expanduser().absolute())
        run.create(config)
        try:
            self._launch(run)
        finally:
            self._runs.add(run.path)
        return run.path

    def resume(self, path: str | Path) -> None:
        """Go on with a run that is paused, stopped, failed or interrupted, from its last checkpoint.

        Raises InputError where it cannot go on; ``medddpm.jobs.owner.Held`` where a process trains it.
        """
        self._launch(requireRun(path))
        self._runs.look(path)

    def extend(self, path: str | Path, more: int) -> None:
        """Let a run that does not run go on for ``more`` iterations than it has been asked for; starts it.

        Raises InputError as ``resume`` does, and for less than one iteration.
        """
        if more < 1:
            raise InputError(f"{more} further iterations were asked for; it must be 1 or more.")
        run = requireRun(path)
        summary = run.summary()
        run.extend(max(summary.total, summary.iteration) + more)
        self.resume(path)

    def pause(self, path: str | Path) -> None:
        """Ask a run to write a checkpoint and end, to be resumed. Raises InputError where that cannot be written."""
        requireRun(path).request_pause()
        self._runs.look(path)
        self.changed()

    def stop(self, path: str | Path) -> None:
        """Ask a run to write a checkpoint and end for good; it can be resumed all the same."""
        requireRun(path).request_cancel()
        self._runs.look(path)
        self.changed()

    def starting(self, path: str | Path) -> bool:
        """Whether a process was started for a run and has not begun it yet."""
        return Path(path) in self._launches

    def ending(self, path: str | Path) -> str:
        """ "pausing" or "stopping" where a running run was asked to; else empty."""
        run = RunFolder(path)
        if run.cancel_requested:
            return "stopping"
        return "pausing" if run.pause_requested else ""

    def details(self, path: str | Path) -> str:
        """Technical detail of a run: what its process printed, and the end of its log."""
        run = RunFolder(path)
        parts = [self.problems.get(run.path, ""), run.process_log(), logTail(run)]
        return "\n\n".join(part.strip() for part in parts if part.strip())

    def tick(self) -> None:
        """Look after the processes that were just started."""
        now = self._clock()
        if self._launches and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for path, launch in list(self._launches.items()):
                self._lookAt(RunFolder(path), launch)
        self.notify()

    def _launch(self, run: RunFolder) -> None:
        eventsBefore = run.events_size()
        python = list(self._python) if self._python is not None else slicerPython()
        self.problems.pop(run.path, None)
        pid = start(run, python, workerEnvironment(), NICENESS)
        self._launches[run.path] = _Launch(pid, eventsBefore)
        self._looked = self._clock()
        self.changed()

    def _lookAt(self, run: RunFolder, launch: _Launch) -> None:
        alive = process_alive(launch.pid)  # before the events: what it wrote at last must be seen
        begun = run.events_size() > launch.eventsBefore
        if alive and not begun:
            return
        del self._launches[run.path]
        if not begun:
            self.problems[run.path] = _notBegun(run)
        self._runs.look(run.path)
        self.changed()


def runBlockedReason(action: str, summary: RunSummary | None, starting: bool = False) -> str | None:
    """Why ``action`` is not possible with a run; None where it is.

    ``action``: pause, stop, resume, extend, use, forget, delete.
    """
    if summary is None:
        return "Choose a training in the list first."
    if action == "forget":
        return None
    if starting:
        return "The training is just starting. Wait a moment."
    return _ACTIONS[action](summary)


def _whileRunning(summary: RunSummary) -> str | None:
    return None if summary.state is State.RUNNING else "The training is not running."


def _resume(summary: RunSummary) -> str | None:
    if summary.problem:
        return plainSentence(summary.problem)
    if summary.state is State.RUNNING:
        return "The training is running."
    return "The training is done. To go on, give it more iterations." if summary.state is State.DONE else None


def _extend(summary: RunSummary) -> str | None:
    if summary.problem:
        return plainSentence(summary.problem)
    return "The training is running. Pause it first." if summary.state is State.RUNNING else None


def _use(summary: RunSummary) -> str | None:
    if summary.model is None:
        return "There is no model yet. The training writes one with its first checkpoint."
    return None


def _delete(summary: RunSummary) -> str | None:
    return "The training is running. Stop it first." if summary.state is State.RUNNING else None


_ACTIONS: dict[str, Callable[[RunSummary], str | None]] = {
    "pause": _whileRunning,
    "stop": _whileRunning,
    "resume": _resume,
    "extend": _extend,
    "use": _use,
    "delete": _delete,
}


def _notBegun(run: RunFolder) -> str:
    lines = run.process_log().strip().splitlines()
    said = lines[-1].removeprefix("Error: ") if lines else "It printed nothing."
    return f"The process of the training ended before it began. {said}"
