"""A spool: a folder of job folders that one worker takes in order.

A job is submitted by renaming its whole folder into the spool; a name that starts with a dot is not a job (yet). Jobs
are taken in the order of their names, and ``submit`` names them so that this is the order of submission. Besides jobs
the spool holds ``worker.json`` (who serves it), ``heartbeat.json`` and, on request, ``stop``. Imports no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from ..errors import FREE_SPACE, InputError
from ..files import write_text
from .events import Event
from .folder import JobFolder
from .owner import OwnerFile

_NUMBER = re.compile(r"(\d{1,20})-")


def open_spool(spool: Path) -> Path:
    """Make the spool folder, private to the user, if it is not there.

    Raises InputError where that is impossible, and for a spool of another user, who could put anything into it.
    """
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = spool.stat().st_uid
    except OSError as exc:
        raise InputError(f"The spool folder {spool} cannot be made: {exc.strerror}. {FREE_SPACE}", path=spool) from exc
    if hasattr(os, "geteuid") and owner != os.geteuid():
        raise InputError(f"The spool folder {spool} belongs to another user. Choose a folder of your own.")
    return spool


def submit(spool: str | os.PathLike[str], request: dict[str, Any], kind: str = "synthesis") -> JobFolder:
    """Put a job at the end of the queue. Raises InputError where it cannot be written or ``request`` is not JSON data.

    The folder appears in the spool under its final name in one piece.
    """
    folder = open_spool(Path(spool))
    hidden = JobFolder(folder / f".new-{os.getpid()}-{time.monotonic_ns()}")
    try:
        job = hidden.create(request, kind)
        final = folder / f"{_next_number(folder):020d}-{job.id}"
        hidden.path.rename(final)
    except (OSError, InputError) as exc:
        shutil.rmtree(hidden.path, ignore_errors=True)
        if isinstance(exc, InputError):
            raise
        raise InputError(f"The job could not be submitted to {folder}: {exc.strerror}.") from exc
    return JobFolder(final)


def requeue(job: JobFolder) -> JobFolder:
    """Put a job that failed, was cancelled or interrupted at the end of its spool's queue again, under a new name.

    Raises ``owner.Held`` where it is running, InputError where it cannot be renamed.
    """
    job_id = job.read().id
    spool = job.path.parent
    attempt = job.claim.take(f"The job {job.path}")
    try:
        job.withdraw_cancel()
        job.append(Event("queued", message=f"Submitted again after {attempt} attempts." if attempt > 1 else None))
        job.claim.release()
        final = spool / f"{_next_number(spool):020d}-{job_id}"
        job.path.rename(final)
    except OSError as exc:
        job.claim.release()
        raise InputError(f"{job.path} could not be submitted again: {exc.strerror}.") from exc
    return JobFolder(final)


def job_names(spool: Path) -> list[str]:
    """Names of the folders in the spool that may be jobs, in order. Links and names with a leading dot are none.

    Raises InputError where the spool cannot be read.
    """
    try:
        with os.scandir(spool) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False))
    except OSError as exc:
        raise InputError(f"The spool folder {spool} cannot be read: {exc.strerror}. Make it again.") from exc


def change_time(spool: Path) -> int:
    """When an entry of the spool last came or went (ns, as exact as the file system is); 0 where it cannot be read."""
    try:
        return spool.stat().st_mtime_ns
    except OSError:
        return 0


def jobs(spool: str | os.PathLike[str]) -> list[JobFolder]:
    """All jobs of the spool, in order, whatever their state."""
    folders = [JobFolder(Path(spool) / name) for name in job_names(Path(spool))]
    return [folder for folder in folders if folder.submitted]


def request_stop(spool: str | os.PathLike[str]) -> None:
    """Ask the worker to leave after the job it is at (to end that too, cancel it). Raises InputError on a full disk."""
    write_text(stop_path(Path(spool)), "")


def stop_path(spool: Path) -> Path:
    """The file whose presence asks the worker to leave."""
    return spool / "stop"


def lock(spool: str | os.PathLike[str]) -> OwnerFile:
    """The ownership of the spool; its living owner is the worker."""
    return OwnerFile(Path(spool) / "worker.json")


def _next_number(spool: Path) -> int:
    """A number for a job's name: the time in nanoseconds, but above all numbers there, should the clock go back."""
    used = [int(match[1]) for name in job_names(spool) if (match := _NUMBER.match(name))]
    return max([time.time_ns(), *(number + 1 for number in used if number < 10**19)])
