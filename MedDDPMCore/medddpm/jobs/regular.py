"""Opening files of a job folder that a stranger may have filled: ordinary files only, never through a link."""

from __future__ import annotations

import os
from pathlib import Path

from .. import files
from ..errors import InputError


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """``files.open_regular`` without links."""
    return files.open_regular(path, flags, mode, links=False)


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of an ordinary file of at most ``limit`` bytes. Raises InputError, or FileNotFoundError, otherwise."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} is larger than {limit} bytes and cannot be what its name says. Submit the job again.")
    return data
