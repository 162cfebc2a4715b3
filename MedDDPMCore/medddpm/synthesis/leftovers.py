"""Temporary files that a killed process left behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..jobs.process import process_alive


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that dead processes left in ``folder``; what cannot be deleted stays.

    Their names, made by ``files.atomic_path``, tell whose they are.
    """
    for path in Path(folder).glob(".part-*"):
        number = path.name.split("-")[1]
        owner = int(number) if number.isdecimal() else 0
        if owner == os.getpid() or not process_alive(owner):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
