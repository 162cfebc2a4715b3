"""One training as the user has it in hand: a process of its own, which outlives Slicer, known by its folder alone."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from medddpm.errors import InputError, MedDDPMError
from medddpm.jobs.events import State
from medddpm.jobs.process import process_alive
from medddpm.training.launch import start
from medddpm.training.run import RunFolder, RunSummary
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.Processes import NICENESS, slicerPython, workerEnvironment
from MedDDPMSlicerLib.Texts import _, duration, fileSize, plainSentence

# Between two looks at a run that is just starting, or that a script waits for (seconds).
LOOK_SECONDS = 0.5
# What a training writes into its folder; all else there is somebody's own and stays. job.json goes last.
WRITTEN = (
    *("samples", "tensorboard", "checkpoints", "outputs", "metrics.jsonl", "loss.png", "events.jsonl"),
    *("log.txt", "process.txt", "cancel", "pause", "job.json"),
)
CLAIM_GUARD = ".claim.json.guard"

STATE_WORDS = {
    State.PENDING: _("not started"),
    State.RUNNING: "running",
    State.DONE: "done",
    State.FAILED: "failed",
    State.CANCELLED: "stopped",
    State.INTERRUPTED: "interrupted",
    State.PAUSED: "paused",
}
# The words for the list; the severity decides the color of the message.
VERDICTS = {
    "early": (_("too early to tell"), "info"),
    "improving": ("improving", "info"),
    "flat": (_("no longer improving"), "warning"),
    "diverging": (_("getting worse"), "error"),
    "overfitting": ("overfitting", "warning"),
    "memorizing": ("memorization", "warning"),
}


class TrainingRun(Observed):
    """The run in ``folder``; everything goes through the folder, so that it works on other computers' runs, too.

    ``summary`` is what ``look`` saw last. ``problem`` says why its process ended before it began the run. ``python``:
    the interpreter of the process, None for Slicer's own. Nothing here ends a process: trainings go on when Slicer is
    closed. Scripts call ``tick`` until it is ``finished``.
    """

    def __init__(
        self,
        folder: str | Path,
        python: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        summary: RunSummary | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.files = RunFolder(self.folder)
        self.problem = ""
        self._python, self._clock = python, clock
        self._pid: int | None = None
        self._eventsBefore = 0
        self._looked = 0.0
        self._signature: tuple[int, ...] = ()
        self.summary: RunSummary = summary or self.files.summary()

    # What it is doing

    @property
    def starting(self) -> bool:
        """Whether a process was started for it and has not begun it yet."""
        return self._pid is not None

    @property
    def running(self) -> bool:
        """Whether a process trains it."""
        return self.summary.state is State.RUNNING

    @property
    def finished(self) -> bool:
        """Whether it does not run (any more): done, paused, stopped, failed, interrupted, or not begun at all."""
        waiting = self.running or (self.summary.state is State.PENDING and not self.problem)
        return not self.starting and not waiting

    @property
    def ending(self) -> str:
        """ "pausing" or "stopping" where it runs and was asked to; else empty."""
        if not self.running:
            return ""
        return "stopping" if self.files.cancel_requested else "pausing" if self.files.pause_requested else ""

    @property
    def state(self) -> str:
        """The state for a person."""
        return "damaged" if self.summary.problem else STATE_WORDS[self.summary.state]

    @property
    def verdict(self) -> tuple[str, str]:
        """How it goes in a few words, and the severity that this is shown with."""
        return VERDICTS.get(self.summary.verdict or "", (self.summary.verdict or "", "info"))

    @property
    def progress(self) -> str:
        """One line on a training that goes on: where it is, the time left, what was asked of it; empty for others."""
        if self.starting:
            return _("Starting: the network and the images are being loaded…")
        if not self.running:
            return ""
        if self.ending:
            return f"{self.ending.capitalize()}: the state is being written…"
        left, step = self.summary.seconds_left, f"Step {self.summary.iteration:,} of {self.summary.total:,}"
        return step if left is None else f"{step} – about {duration(left)} left"

    @property
    def message(self) -> str:
        """What is to be said of it: what is wrong with it, how it ended, else how it goes."""
        summary = self.summary
        if summary.problem or self.problem:
            return plainSentence(self.problem or summary.problem or "")
        if summary.state is State.INTERRUPTED:
            return _(
                "The training process ended unexpectedly (the computer was switched off, or the process was killed). "
                "Press Resume to continue from the last checkpoint."
            )
        ended = summary.state in (State.FAILED, State.PAUSED, State.CANCELLED)
        return plainSentence(summary.message) if ended and summary.message else summary.sentence or ""

    @property
    def elsewhere(self) -> str:
        """The other computer that it is to compute on; empty for this one."""
        with contextlib.suppress(InputError):
            return self.files.config().on
        return ""

    @property
    def modelFolder(self) -> Path:
        """The newest model. Raises InputError before there is one."""
        if self.summary.model is None:
            raise InputError(_("There is no model yet. The training writes one with its first checkpoint."))
        return self.summary.model

    def details(self) -> str:
        """Technical detail: what its process printed, and the end of its log."""
        parts = [self.problem, self.files.process_log(), self.files.log_tail()]
        return "\n\n".join(part.strip() for part in parts if part.strip())

    def blockedReason(self, action: str) -> str | None:
        """Why pause, stop, resume, extend, use or delete is not possible now, in a sentence; None where it is."""
        if self.starting:
            return _("The training is just starting. Wait a moment.")
        if action in ("pause", "stop"):
            return None if self.running else _("The training is not running.")
        if action == "use":
            return (
                None if self.summary.model is not None else _("There is no model yet. Wait for the first checkpoint.")
            )
        if self.summary.problem and action != "delete":
            return plainSentence(self.summary.problem)
        if self.running:
            first = {"resume": "", "extend": _(" Pause it first."), "delete": _(" Stop it first.")}[action]
            return f"The training is running.{first}"
        done = action == "resume" and self.summary.state is State.DONE
        return _("The training is done. To continue it, use 'Continue with more steps'.") if done else None

    # What can be done with it

    def resume(self, moreIterations: int = 0) -> None:
        """Go on from the last checkpoint, for ``moreIterations`` than it has been asked for; starts a process.

        Raises InputError where it cannot go on; ``medddpm.jobs.owner.Held`` where a process trains it.
        """
        self.files = RunFolder.open(self.folder)
        if moreIterations:
            summary = self.files.summary()
            self.files.extend(max(summary.total, summary.iteration) + moreIterations)
        self._eventsBefore, self.problem = self.files.events_size(), ""
        python = list(self._python) if self._python is not None else slicerPython()
        self._pid = start(self.files, python, workerEnvironment(), NICENESS)
        self.look()

    def pause(self) -> None:
        """Ask it to write a checkpoint and end, to be resumed. Raises InputError where that cannot be written."""
        RunFolder.open(self.folder).request_pause()
        self.look()

    def stop(self) -> None:
        """Ask it to write a checkpoint and end for good; it can be resumed all the same."""
        RunFolder.open(self.folder).request_cancel()
        self.look()

    def look(self) -> RunSummary:
        """Its state as it is now; reads some small files."""
        summary = self.files.summary()
        if summary != self.summary:
            self.summary = summary
            self.changed()
        return summary

    def lookIfChanged(self) -> None:
        """As ``look``; of a run that does nothing the files are read only when they have changed."""
        signature = tuple(_modified(self.folder / name) for name in ("job.json", "events.jsonl", "metrics.jsonl"))
        if signature != self._signature or self.running or self.summary.state is State.PENDING:
            self._signature = signature
            self.look()

    def tick(self) -> None:
        """Look how it goes, now and then."""
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._looked = self._clock()
            self._lookAtProcess()
            self.look()
        self.notify()

    def raiseFailure(self) -> None:
        """Raise MedDDPMError with its sentence where it ended before it was done; for scripts."""
        if self.finished and self.summary.state is not State.DONE:
            raise MedDDPMError(self.message or f"The training is {self.state}.")

    def cancel(self) -> None:
        """The service ends: the training goes on all the same."""

    def _lookAtProcess(self) -> None:
        if self._pid is None:
            return
        alive = process_alive(self._pid)  # before the events: what it wrote at last must be seen
        begun = self.files.events_size() > self._eventsBefore
        if begun or not alive:
            self._pid = None
            self.changed()
        if not begun and not alive:
            lines = self.files.process_log().strip().splitlines()
            said = lines[-1].removeprefix("Error: ") if lines else _("It printed nothing.")
            self.problem = f"The process of the training ended before it began. {said}"

    # Deleting

    def deletionQuestion(self) -> str:
        """What is asked before deleting: which folder, what is lost. Walks through its files."""
        size = sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())
        model = (
            _("Its model cannot be used any more, neither here nor in MedDDPM Synth. ") if self.summary.model else ""
        )
        return (
            f"Delete the run '{self.summary.name}' in {self.folder} ({fileSize(size)}) for good? Its checkpoints, "
            f"samples and metrics are lost. {model}The dataset stays. To take it out of the list only, choose "
            "'Remove from list'."
        )

    def delete(self) -> Generator[None, None, str]:
        """Steps that delete what a training wrote; they return a sentence that says whether anything stayed.

        What links lead to is not touched. Raises InputError where there is no run, a process trains it, or a file
        cannot be deleted.
        """
        run = RunFolder.open(self.folder)
        if run.path.is_symlink():
            raise InputError(f"{run.path} is a link to another folder. Delete that one, or remove the link.")
        run.claim.take(f"The training {run.path}")  # nobody can start it meanwhile
        try:
            for path in (run.path / name for name in WRITTEN):
                inner = sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else []
                for part in (*inner, path):
                    shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink(missing_ok=True)
                    yield
        except OSError as exc:
            raise InputError(
                f"{exc.filename or run.path} could not be deleted: {exc.strerror or exc}. Close programs that use it."
            ) from exc
        finally:
            run.claim.release()
        (run.path / CLAIM_GUARD).unlink(missing_ok=True)
        left = sorted(path.name for path in run.path.iterdir())
        if left:
            return f"The run was deleted. {run.path} holds other files ({', '.join(left[:3])}), which were kept."
        run.path.rmdir()
        return _("The run was deleted.")


def _modified(path: Path) -> int:
    """When a file was written last (ns); 0 where there is none."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0
