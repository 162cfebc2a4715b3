"""Job folders and handlers for the tests of jobs."""

from __future__ import annotations

from pathlib import Path

from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder


def nothing(request, folder, reporter) -> None:
    """A handler with no work to do."""


def last(folder: JobFolder) -> Event:
    """What the job told last."""
    return folder.events()[0][-1]


def made_job(place: Path) -> JobFolder:
    """A job of kind "toy" below ``place``, in a folder whose name is no ASCII."""
    made = JobFolder(place / "Aufträge für ÄÖ 日本" / "job 1")
    made.create({"mask": "/data/DOE_JOHN/knochen.nii.gz", "sampler": "ddim"}, "toy")
    return made
