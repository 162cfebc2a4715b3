"""The list of trainings: found below the user's folders, remembered, forgotten, kept up to date from their folders."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.training.run import RunFolder, RunSummary, find_runs
from MedDDPMSlicerLib.Background import SLICE_SECONDS, Observed, SlicedTask
from MedDDPMSlicerLib.Storage import Settings

from .Run import TrainingRun

logger = logging.getLogger(__name__)

# Names in the settings: single runs, folders below which all runs are listed, what the user does not want to see.
RUNS, ROOTS, FORGOTTEN = "trainingRuns", "trainingRunFolders", "forgottenTrainingRuns"
# A list in the settings does not grow for ever.
MAX_REMEMBERED = 500
# Between two rounds through all runs, and between two searches for new ones (seconds).
ROUND_SECONDS, SEARCH_SECONDS = 2.0, 15.0
# Rounds take at most this share of the time: a slow disk is asked less often.
MAX_SHARE = 0.05


class Runs(Observed):
    """``runs`` are those that are listed, the last active first. Call ``tick`` regularly.

    ``settings`` are those of the user; ``home`` is the folder for runs without another place. ``python``: the
    interpreter of trainings, None for Slicer's own. ``clock`` gives seconds and is replaced in tests.
    """

    def __init__(
        self,
        settings: Settings,
        home: Path,
        python: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.runs: list[TrainingRun] = []
        self.home = Path(home)
        self._settings, self._python, self._clock = settings, python, clock
        self._rounds = Rounds(self._round, ROUND_SECONDS, clock)
        self._paths: list[Path] = []
        self._nextSearch = 0.0
        self._told: list[RunSummary] = []

    @property
    def summaries(self) -> list[RunSummary]:
        """Where the listed runs stand."""
        return [run.summary for run in self.runs]

    def find(self, path: str | Path) -> TrainingRun | None:
        """The run of the list; None where it is not (yet) in it."""
        return next((run for run in self.runs if run.folder == Path(path)), None) if str(path) else None

    def of(self, path: str | Path) -> TrainingRun:
        """The run in a folder, that of the list where it is in it. Raises InputError where there is none."""
        if not str(path):
            raise InputError("Choose a training in the list first.")
        RunFolder.open(path)
        return self.find(path) or TrainingRun(path, self._python, self._clock)

    def begin(self, folder: str | Path, config: Any) -> TrainingRun:
        """Make the folder of a new run with its ``TrainConfig``, list it and start it.

        Raises InputError where the folder is taken or cannot be written, or the process cannot be started.
        """
        path = Path(folder).expanduser().absolute()
        RunFolder(path).create(config)
        run = self.add(path)
        run.resume()
        return run

    def add(self, path: str | Path) -> TrainingRun:
        """List a run from now on, wherever it is. Raises InputError where the folder holds none."""
        whole = RunFolder.open(Path(path).expanduser().absolute()).path
        self._remove(FORGOTTEN, whole)
        self._add(RUNS, whole)
        run = self.of(whole)
        self._list([known for known in self.runs if known is not run] + [run])
        self.refresh()
        return run

    def forget(self, path: str | Path, gone: bool = False) -> None:
        """Do not list a run any more; the training goes on if it does. ``gone``: its folder is not there any more."""
        self._remove(RUNS, Path(path))
        if not gone and any(root in Path(path).parents for root in self.roots()):
            self._add(FORGOTTEN, Path(path))
        self._list([run for run in self.runs if run.folder != Path(path)])
        self.refresh()

    def roots(self) -> list[Path]:
        """Folders below which all runs are found: ``home`` and those that the user added (also of other computers)."""
        added = [Path(text) for text in self._settings.readList(ROOTS)]
        return [self.home, *(path for path in added if path != self.home)]

    def addRoot(self, folder: str | Path) -> None:
        """Look for runs below a folder from now on. Raises InputError where it is none."""
        path = Path(folder).expanduser().absolute()
        if not path.is_dir():
            raise InputError(f"The folder {path} does not exist or cannot be reached. Choose another one.")
        self._add(ROOTS, path)
        self.refresh()

    def removeRoot(self, folder: str | Path) -> None:
        """Look no more below a folder; nothing is deleted."""
        self._remove(ROOTS, Path(folder))
        self.refresh()

    def refresh(self) -> None:
        """Search anew with the next ticks: something was added, removed or started."""
        self._nextSearch = 0.0
        self._rounds.again()

    def tick(self) -> None:
        """Look at some of the folders; takes milliseconds where the disk does."""
        for run in self.runs:
            if run.starting:
                run.tick()
        self._rounds.tick()
        self._list(self.runs)
        self.notify()

    def _round(self) -> Generator[None, None, None]:
        if self._clock() >= self._nextSearch:
            self._paths = yield from self._search()
            self._nextSearch = self._clock() + SEARCH_SECONDS
        found = []
        for path in self._paths:
            run = self.find(path) or TrainingRun(path, self._python, self._clock)
            run.lookIfChanged()
            found.append(run)
            yield
        self._list(found)

    def _search(self) -> Generator[None, None, list[Path]]:
        """Steps that look through all places; they return the folders of the runs, each once."""
        found = [Path(text) for text in self._settings.readList(RUNS)]
        for root in self.roots():
            yield
            try:  # the folder itself where it is a run, else those in it
                inner = [p for p in root.iterdir() if not p.name.startswith(".") and p.is_dir()]
            except OSError:  # a disk that is away
                inner = []
            for folder in [root] if (root / "job.json").is_file() else sorted(inner):
                try:
                    found += [run.path for run in find_runs(folder, depth=1)]
                except InputError:
                    continue  # a disk that is away
                yield
        forgotten = {Path(text) for text in self._settings.readList(FORGOTTEN)}
        return [path for path in dict.fromkeys(found) if path not in forgotten]

    def _list(self, runs: list[TrainingRun]) -> None:
        self.runs = sorted(runs, key=lambda run: (-(run.summary.updated or 0.0), str(run.folder)))
        if self.summaries != self._told:
            self._told = self.summaries
            self.changed()

    def _add(self, name: str, path: Path) -> None:
        known = [text for text in self._settings.readList(name) if text != str(path)]
        self._settings.writeList(name, [*known, str(path)][-MAX_REMEMBERED:])

    def _remove(self, name: str, path: Path) -> None:
        known = self._settings.readList(name)
        if str(path) in known:
            self._settings.writeList(name, [text for text in known if text != str(path)])


class Rounds:
    """Works through the steps that ``begin`` makes, every ``seconds`` or less often. Call ``tick`` regularly.

    ``clock`` gives seconds and is replaced in tests.
    """

    def __init__(
        self, begin: Callable[[], Generator[None, None, None]], seconds: float, clock: Callable[[], float]
    ) -> None:
        self._begin, self._seconds, self.clock = begin, seconds, clock
        self._task: SlicedTask | None = None
        self._next = self._spent = 0.0

    def again(self) -> None:
        """Give up the round that is going on, if any, and begin the next one at the next tick."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._next = None, 0.0

    def tick(self) -> None:
        """Take some of the steps; takes milliseconds where the disk does."""
        began = self.clock()
        if self._task is None:
            if began < self._next:
                return
            self._spent, self._task = 0.0, SlicedTask(self._begin(), lambda _: None, _logFailure, self.clock)
        task = self._task
        task.step(SLICE_SECONDS)
        self._spent += self.clock() - began
        if task.finished and task is self._task:
            self._task, self._next = None, self.clock() + max(self._seconds, self._spent / MAX_SHARE)


def _logFailure(error: Any) -> None:
    logger.error("a folder of trainings could not be looked at", exc_info=error)
