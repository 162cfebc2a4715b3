"""Where training runs are looked for: remembered folders, folders of runs, and what the user does not want to see."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from medddpm.errors import InputError
from medddpm.training.run import RunFolder, find_runs
from MedDDPMSlicerLib.Settings import Settings, readList, writeList

RUNS, ROOTS, FORGOTTEN = "trainingRuns", "trainingRunFolders", "forgottenTrainingRuns"
# A list in the settings does not grow for ever.
MAX_REMEMBERED = 500


class RunPlaces:
    """The places of one user, kept in the ``settings``; ``home`` is the folder for runs without another place."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self._settings, self.home = settings, Path(home)

    def roots(self) -> list[Path]:
        """Folders below which all runs are found: ``home`` and those that the user added (also of other computers)."""
        added = [Path(text) for text in readList(self._settings, ROOTS)]
        return [self.home, *(path for path in added if path != self.home)]

    def addRoot(self, folder: str | Path) -> Path:
        """Look for runs below a folder from now on. Raises InputError where it is none."""
        path = Path(folder).expanduser().absolute()
        if not path.is_dir():
            raise InputError(f"The folder {path} does not exist or cannot be reached. Choose another one.")
        self._add(ROOTS, path)
        return path

    def removeRoot(self, folder: str | Path) -> None:
        """Look no more below a folder; nothing is deleted."""
        self._remove(ROOTS, Path(folder))

    def remember(self, run: str | Path) -> Path:
        """List a run from now on, wherever it is. Raises InputError where the folder holds none."""
        path = RunFolder.open(Path(run).expanduser().absolute()).path
        self._remove(FORGOTTEN, path)
        self._add(RUNS, path)
        return path

    def forget(self, run: str | Path) -> None:
        """Do not list a run any more; its folder stays as it is, and the training goes on if it does."""
        path = Path(run)
        self._remove(RUNS, path)
        if any(root in path.parents for root in self.roots()):
            self._add(FORGOTTEN, path)

    def erase(self, run: Path) -> None:
        """The folder is gone: nothing of it has to be kept in mind."""
        self._remove(RUNS, run)
        self._remove(FORGOTTEN, run)

    def search(self) -> Generator[None, None, list[Path]]:
        """Steps that look through all places; they return the folders of the runs, each once."""
        forgotten = {Path(text) for text in readList(self._settings, FORGOTTEN)}
        found = [Path(text) for text in readList(self._settings, RUNS)]
        for root in self.roots():
            yield
            for folder in _subfolders(root):
                found += _runsIn(folder)
                yield
        return [path for path in dict.fromkeys(found) if path not in forgotten]

    def _add(self, name: str, path: Path) -> None:
        known = [text for text in readList(self._settings, name) if text != str(path)]
        writeList(self._settings, name, [*known, str(path)][-MAX_REMEMBERED:])

    def _remove(self, name: str, path: Path) -> None:
        known = readList(self._settings, name)
        if str(path) in known:
            writeList(self._settings, name, [text for text in known if text != str(path)])


def _subfolders(root: Path) -> list[Path]:
    """The folder itself where it is a run, else those in it; none where it cannot be read (a disk that is away)."""
    if (root / "job.json").is_file():
        return [root]
    try:
        return sorted(path for path in root.iterdir() if not path.name.startswith(".") and path.is_dir())
    except OSError:
        return []


def _runsIn(folder: Path) -> list[Path]:
    try:
        return [run.path for run in find_runs(folder, depth=1)]
    except InputError:
        return []
