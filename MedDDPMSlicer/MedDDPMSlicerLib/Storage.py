"""What the extension keeps: its private folders below Slicer's user data folder, and the choices of the user.

Layout of ``root``::

    seat-1/                  one for each Slicer that runs at the same time; taken over when its owner has ended
        owner.json           the process that uses this seat
        synthesis/, ...      the spools of the workers (SPOOLS)
    exchange/                masks and images handed to jobs, removed with their job
    models/                  imported model folders
    datasets/, runs/         prepared datasets and training runs for which no other place was chosen

A seat to itself keeps two running Slicers from taking each other's jobs; what a former session left in a seat that
nobody uses is moved into ours, so that its jobs can be offered again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.owner import Held, OwnerFile

from .Texts import knowStorage

logger = logging.getLogger(__name__)

# More Slicers than this do not run at the same time for one person.
MAX_SEATS = 64
# Sites whose home folders are small, and tests, put the folders elsewhere.
ROOT_VARIABLE = "MEDDDPM_STORAGE"
SETTINGS_PREFIX = "MedDDPM/"
SAMPLE_MASK = "glioma.nii.gz"
# Jobs of former sessions wait under names that a worker does not see (see Jobs.py).
PARKED_PREFIX = ".kept-"
# A worker serves one spool, one job after the other: what must not wait for something long has a spool of its own.
SPOOLS = ("synthesis", "tools", "training-tools", "preparation")


class Storage:
    """Folders of ours below ``root``, made private to the user (0700) where the system knows such rights.

    Raises InputError with a sentence where ``root`` cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = _privateFolder(Path(root))
        self.seat = _takeSeat(self.root)
        spools = [_privateFolder(self.seat / name) for name in SPOOLS]
        self.synthesisSpool, self.toolsSpool, self.trainingToolsSpool, self.preparationSpool = spools
        self.exchange = _privateFolder(self.root / "exchange")
        self.models = _privateFolder(self.root / "models")
        self.datasets = _privateFolder(self.root / "datasets")
        self.runs = _privateFolder(self.root / "runs")
        knowStorage(self.root)
        for seat in _seats(self.root):  # what former sessions left in those that nobody uses comes into ours
            if seat != self.seat:
                _moveLeftovers(seat, self.seat)

    def exchangeFile(self, suffix: str) -> Path:
        """A new path in ``exchange`` for a file of one job, for example with the suffix ``".nrrd"``.

        The name says nothing of its content. The file is deleted with the job that names it (``Job.discard``).
        """
        return self.exchange / f"{uuid.uuid4().hex}{suffix}"

    def sizeBytes(self) -> int:
        """Bytes of all files below ``root``; those that vanish meanwhile do not count."""
        total = 0
        for parent, _, names in os.walk(self.root, followlinks=False):
            for name in names:
                with contextlib.suppress(OSError):
                    total += (Path(parent) / name).lstat().st_size
        return total

    def clear(self, includeModels: bool = False) -> str:
        """Delete jobs, their results and exchange files, and with ``includeModels`` the imported models too.

        What a waiting or running job needs stays, in this and in other Slicers; datasets and training runs stay, too.
        Returns a sentence that says what stayed, or that everything is gone.
        """
        kept = 0
        for job in (job for name in SPOOLS for job in jobFolders(self.seat / name)):
            if _isNeeded(job):
                kept += 1
            else:
                shutil.rmtree(job.path, ignore_errors=True)
        others = [seat for seat in _seats(self.root) if seat != self.seat]
        kept += sum(_isNeeded(job) for seat in others for name in SPOOLS for job in jobFolders(seat / name))
        if not kept:
            _emptyFolder(self.exchange)
        if includeModels:
            _emptyFolder(self.models)
        left = f"{self.sizeBytes() / 1e6:.0f} MB remain in {self.root}."
        if kept:
            jobs = "One job is" if kept == 1 else f"{kept} jobs are"
            return f"{jobs} still waiting or running and was kept with its files. {left}"
        return f"Jobs and their files were deleted. {left}"


def defaultStorage() -> Storage:
    """The storage of this user, in the folder for local application data that Slicer has from the system.

    The environment variable ``MEDDDPM_STORAGE`` names another folder. Raises InputError where it cannot be used.
    """
    import slicer

    if os.environ.get(ROOT_VARIABLE):
        return Storage(Path(os.environ[ROOT_VARIABLE]))
    try:
        import qt
    except ImportError:  # tests: beside the settings, which Slicer keeps in the user's configuration folder
        return Storage(Path(slicer.app.slicerUserSettingsFilePath).parent / "MedDDPM")
    # Local data: on Windows the roaming profile would carry gigabytes over the network at each login.
    place = qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppLocalDataLocation)
    return Storage(Path(place) / "MedDDPM")


class Settings:
    """Texts by name that stay between sessions: in ``store`` (a QSettings), or without one as long as the process."""

    def __init__(self, store: Any = None) -> None:
        self._store = store
        self._texts: dict[str, str] = {}

    def read(self, name: str) -> str:
        """The text; empty where there is none."""
        value = self._texts.get(name) if self._store is None else self._store.value(SETTINGS_PREFIX + name)
        return value if isinstance(value, str) else ""

    def write(self, name: str, text: str) -> None:
        """Keep the text."""
        if self._store is None:
            self._texts[name] = text
        else:
            self._store.setValue(SETTINGS_PREFIX + name, text)

    def readList(self, name: str) -> list[str]:
        """A remembered list of texts; whatever else is there counts as empty."""
        try:
            found = json.loads(self.read(name) or "[]")
        except ValueError:
            return []
        return [entry for entry in found if isinstance(entry, str)] if isinstance(found, list) else []

    def writeList(self, name: str, entries: list[str]) -> None:
        """Remember a list of texts."""
        self.write(name, json.dumps(entries))


def defaultSettings() -> Settings:
    """The application's settings; in memory where there is no application."""
    import slicer

    userSettings = getattr(getattr(slicer, "app", None), "userSettings", None)
    return Settings(userSettings() if callable(userSettings) else None)


def sampleMaskPath() -> Path:
    """The mask that comes with the extension, a brain with a glioma in the values of the scheme "brats".

    It is beside the installed module, or in the repository. Raises InputError where it is gone.
    """
    here = Path(__file__).resolve()
    candidates = [parent / "Resources" / "SampleMasks" / SAMPLE_MASK for parent in here.parents[1:3]]
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(f"The sample mask is missing: {candidates[0]}. Install the extension again.")


def _privateFolder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as exc:
        raise InputError(
            f"The folder {path} cannot be made: {exc.strerror or exc}. "
            f"Free space, or set the environment variable {ROOT_VARIABLE} to another folder and start Slicer again."
        ) from exc
    return path


def _takeSeat(root: Path) -> Path:
    for number in range(1, MAX_SEATS + 1):
        seat = _privateFolder(root / f"seat-{number}")
        lock = OwnerFile(seat / "owner.json")
        owner = lock.living_owner()
        if owner is not None and owner.pid == os.getpid():
            return seat  # the module was reloaded
        if owner is None:
            with contextlib.suppress(Held):
                lock.take(f"The folder {seat}")
                return seat
    raise InputError(f"{MAX_SEATS} programs use the folder {root} at the same time. Close some of them.")


def _seats(root: Path) -> list[Path]:
    return [seat for seat in sorted(root.glob("seat-*")) if seat.is_dir() and not seat.is_symlink()]


def _moveLeftovers(source: Path, target: Path) -> None:
    lock = OwnerFile(source / "owner.json")
    if lock.living_owner() is not None:
        return
    try:
        lock.take(f"The folder {source}")
    except InputError:  # taken by another Slicer just now, or not writable
        return
    try:
        for name in SPOOLS:
            for job in jobFolders(source / name):
                if job.claim.living_owner() is None:
                    kept = job.path.name.removeprefix(PARKED_PREFIX)
                    job.path.rename(target / name / f"{PARKED_PREFIX}{kept}")
    except OSError as exc:
        logger.warning("jobs of a former session could not be taken over: %s", type(exc).__name__)
    finally:
        lock.release()


def isParked(folder: JobFolder) -> bool:
    """Whether the job was put aside: it is not run unless someone asks for it again."""
    return folder.path.name.startswith(PARKED_PREFIX)


def jobFolders(spool: Path) -> Iterator[JobFolder]:
    """All job folders of a spool, parked ones too; none where there is no spool."""
    with contextlib.suppress(OSError):
        for path in sorted(spool.iterdir()):
            named = not path.name.startswith(".") or path.name.startswith(PARKED_PREFIX)
            if named and path.is_dir() and not path.is_symlink():
                yield JobFolder(path)


def _isNeeded(job: JobFolder) -> bool:
    """Whether a job runs, or waits for a worker that will take it."""
    if job.claim.living_owner() is not None:
        return True
    return job.state() is State.PENDING and not isParked(job)


def _emptyFolder(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
