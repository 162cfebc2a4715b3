"""Opening files of a job folder that a stranger may have filled: ordinary files only, never through a link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..errors import InputError


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """``os.open`` for an ordinary file; a link, pipe, device or folder under this name is refused.

    Raises FileNotFoundError where nothing is there (and ``flags`` do not create it) and InputError for anything else
    that is not an ordinary file. Opening never blocks, whatever the name turns out to be.
    """
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # each exists on some systems only
        flags |= getattr(os, flag, 0)
    if path.is_symlink():
        raise _refusal(path)
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _refusal(path) from exc
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refusal(path)
    return descriptor


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of an ordinary file of at most ``limit`` bytes. Raises InputError, or FileNotFoundError, otherwise."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} is larger than {limit} bytes and cannot be what its name says. Submit the job again.")
    return data


def _refusal(path: Path) -> InputError:
    return InputError(
        f"{path} is a link or not an ordinary file, which is not accepted in a job. Submit the job again."
    )
