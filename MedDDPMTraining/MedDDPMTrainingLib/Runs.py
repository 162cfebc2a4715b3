"""The list of training runs with their states, kept up to date from their folders."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.jobs.folder import State
from medddpm.training.run import RunFolder
from medddpm.training.summary import RunSummary
from MedDDPMSlicerLib.Background import Observed, SlicedTask
from MedDDPMSlicerLib.PlainSentences import plainSentence
from MedDDPMSlicerLib.Texts import duration

from .RunPlaces import RunPlaces

logger = logging.getLogger(__name__)

# Between two rounds through all runs, and between two searches for new ones (seconds).
ROUND_SECONDS, SEARCH_SECONDS = 2.0, 15.0
# A round takes at most this share of the time: the folders of a slow disk are looked at less often.
MAX_SHARE = 0.05
SLICE_SECONDS = 0.01

STATE_WORDS = {
    State.PENDING: "not started",
    State.RUNNING: "running",
    State.DONE: "done",
    State.FAILED: "failed",
    State.CANCELLED: "stopped",
    State.INTERRUPTED: "interrupted",
    State.PAUSED: "paused",
}


class Runs(Observed):
    """``summaries`` are the runs of ``places``, those that were active last first. Call ``tick`` regularly.

    ``clock`` gives seconds and is replaced in tests.
    """

    def __init__(self, places: RunPlaces, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.places = places
        self.summaries: list[RunSummary] = []
        self._clock = clock
        self._paths: list[Path] = []
        self._signatures: dict[Path, tuple[int, ...]] = {}
        self._task: Any = None
        self._nextRound = self._nextSearch = 0.0
        self._spent = 0.0

    def find(self, path: str | Path) -> RunSummary | None:
        """The summary of a run of the list; None where it is not (yet) in it."""
        wanted = Path(path) if path else None
        return next((summary for summary in self.summaries if summary.path == wanted), None)

    def look(self, path: str | Path) -> RunSummary:
        """The state of a run as it is now; the list gets it, too. Reads some small files."""
        summary = RunFolder(path).summary()
        others = [known for known in self.summaries if known.path != summary.path]
        if len(others) < len(self.summaries):
            self._show([*others, summary])
        return summary

    def refresh(self) -> None:
        """Search anew with the next ticks: something was added, removed or started."""
        self._nextRound = self._nextSearch = 0.0
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def add(self, path: str | Path) -> Path:
        """List a run and show it at once; see ``RunPlaces.remember``."""
        remembered = self.places.remember(path)
        self._show([*(s for s in self.summaries if s.path != remembered), RunFolder(remembered).summary()])
        self.refresh()
        return remembered

    def forget(self, path: str | Path) -> None:
        """See ``RunPlaces.forget``."""
        self.places.forget(path)
        self._show([summary for summary in self.summaries if summary.path != Path(path)])
        self.refresh()

    def erase(self, path: str | Path) -> None:
        """The folder of a run is gone."""
        self.places.erase(Path(path))
        self._show([summary for summary in self.summaries if summary.path != Path(path)])
        self.refresh()

    def tick(self) -> None:
        """Look at some of the folders; takes milliseconds where the disk does."""
        if self._task is None and self._clock() >= self._nextRound:
            self._spent = 0.0
            self._task = SlicedTask(self._round(), self._end, self._fail, self._clock)
        if self._task is not None:
            began = self._clock()
            self._task.step(SLICE_SECONDS)
            self._spent += self._clock() - began
            if self._task is not None and self._task.finished:
                self._task = None
                self._nextRound = self._clock() + max(ROUND_SECONDS, self._spent / MAX_SHARE)
        self.notify()

    def _round(self) -> Generator[None, None, list[RunSummary]]:
        if self._clock() >= self._nextSearch:
            self._paths = yield from self.places.search()
            self._nextSearch = self._clock() + SEARCH_SECONDS
        found = []
        for path in self._paths:
            found.append(self._read(path))
            yield
        return found

    def _read(self, path: Path) -> RunSummary:
        """The summary; of a run that does nothing it is read again only when its files have changed."""
        run = RunFolder(path)
        signature = tuple(_modified(path / name) for name in ("job.json", "events.jsonl", "metrics.jsonl"))
        known = self.find(path)
        same = self._signatures.get(path) == signature
        if known is not None and same and known.state not in (State.RUNNING, State.PENDING):
            return known
        self._signatures[path] = signature
        return run.summary()

    def _end(self, found: list[RunSummary]) -> None:
        self._show(found)

    def _fail(self, error: Exception) -> None:
        logger.error("the runs could not be listed: %s", type(error).__name__)

    def _show(self, summaries: list[RunSummary]) -> None:
        ordered = sorted(summaries, key=lambda summary: (-(summary.updated or 0.0), str(summary.path)))
        if ordered != self.summaries:
            self.summaries = ordered
            self.changed()


def stateWords(summary: RunSummary) -> str:
    """The state of a run for a person."""
    if summary.problem:
        return "damaged"
    return STATE_WORDS.get(summary.state, str(summary.state))


def progressWords(summary: RunSummary) -> str:
    """ "12,000 of 100,000 – about 2.1 days left"."""
    if not summary.total:
        return ""
    done = f"{summary.iteration:,} of {summary.total:,}"
    return done if summary.seconds_left is None else f"{done} – about {duration(summary.seconds_left)} left"


def message(summary: RunSummary) -> str:
    """What is to be said of a run: what is wrong with it, how it ended, else how it goes."""
    if summary.problem:
        return plainSentence(summary.problem)
    if summary.state is State.INTERRUPTED:
        return (
            "The process that trained has ended without a word (the computer was switched off, or it was killed). "
            "Press Resume; it goes on from its last checkpoint."
        )
    if summary.state in (State.FAILED, State.PAUSED, State.CANCELLED) and summary.message:
        return plainSentence(summary.message)
    return summary.sentence or ""


def _modified(path: Path) -> int:
    """When a file was written last (ns); 0 where there is none."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def requireRun(path: str | Path) -> RunFolder:
    """The run folder at ``path``. Raises InputError where there is none."""
    if not str(path):
        raise InputError("Choose a training in the list first.")
    return RunFolder.open(path)
