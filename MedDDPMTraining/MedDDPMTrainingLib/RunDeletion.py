"""Deleting the folder of a run, with care: only what a training wrote there, and never of one that runs."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

from medddpm.errors import InputError
from medddpm.training.run import RunFolder
from medddpm.training.summary import RunSummary
from MedDDPMSlicerLib.Texts import fileSize

from .Runs import requireRun

# What a training writes into its folder; all else there is somebody's own and stays.
CLAIM_GUARD = ".claim.json.guard"
FILES = ("events.jsonl", "metrics.jsonl", "log.txt", "process.txt", "cancel", "pause", "claim.json", CLAIM_GUARD)
FOLDERS = ("samples", "tensorboard", "checkpoints", "outputs")
LAST = "job.json"


def deletionQuestion(summary: RunSummary) -> str:
    """What is asked before deleting: which folder, what is lost. Walks through its files."""
    size = sum(_size(path) for path in _filesOf(RunFolder(summary.path)))
    model = " Its model cannot be used any more, neither here nor in MedDDPM Synth." if summary.model else ""
    return (
        f"Delete the run '{summary.name}' in {summary.path} ({fileSize(size)}) for good? Its checkpoints, samples and "
        f"figures are lost.{model} The dataset stays. To take it out of the list only, choose 'Forget'."
    )


def deleteRun(path: Path) -> Generator[None, None, str]:
    """Steps that delete what a training wrote; they return a sentence that says whether anything stayed.

    Raises InputError where there is no run, a process trains it, or a file cannot be deleted.
    """
    run = requireRun(path)
    if run.path.is_symlink():
        raise InputError(f"{path} is a link to another folder. Delete that one, or remove the link.")
    run.claim.take(f"The training {run.path}")  # nobody can start it meanwhile
    try:
        for file in _filesOf(run):
            if file.name != run.claim.path.name:
                file.unlink(missing_ok=True)
            yield
        for folder in FOLDERS:
            _removeFolders(run.path / folder)
            yield
        (run.path / LAST).unlink(missing_ok=True)
    except OSError as exc:
        run.claim.release()
        raise InputError(
            f"{exc.filename or run.path} could not be deleted: {exc.strerror or exc}. Close programs that use it."
        ) from exc
    run.claim.release()
    (run.path / CLAIM_GUARD).unlink(missing_ok=True)
    return _removeEmpty(run.path)


def _filesOf(run: RunFolder) -> Iterator[Path]:
    """The files of a training; links count as files, and what they lead to is not touched."""
    for name in FILES:
        if os.path.lexists(run.path / name):
            yield run.path / name
    for name in FOLDERS:
        folder = run.path / name
        if folder.is_symlink():
            yield folder
            continue
        for parent, folders, files in os.walk(folder, topdown=False, followlinks=False):
            links = [entry for entry in folders if (Path(parent) / entry).is_symlink()]
            yield from (Path(parent) / entry for entry in (*files, *links))


def _removeFolders(folder: Path) -> None:
    for parent, _, _ in os.walk(folder, topdown=False, followlinks=False):
        Path(parent).rmdir()


def _removeEmpty(folder: Path) -> str:
    left = sorted(path.name for path in folder.iterdir())
    if left:
        return f"The run was deleted. {folder} holds other files ({', '.join(left[:3])}), which were kept."
    folder.rmdir()
    return "The run was deleted."


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
