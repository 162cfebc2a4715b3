"""Temporary files and claims that a killed process left behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..jobs.owner import OwnerFile
from ..jobs.process import process_alive

CLAIM, READING = ".in-use.json", ".reading.json"  # of who works on a case, and of who reads its files


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files and claims that dead processes left in ``folder``; what cannot be deleted stays.

    The names of the files, made by ``files.atomic_path``, tell whose they are.
    """
    for claim in (OwnerFile(Path(folder) / name) for name in (CLAIM, READING)):
        if claim.exists() and claim.living_owner() is None:
            claim.release()
    for path in Path(folder).glob(".part-*"):
        number = path.name.split("-")[1]
        owner = int(number) if number.isdecimal() else 0
        if owner == os.getpid() or not process_alive(owner):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
