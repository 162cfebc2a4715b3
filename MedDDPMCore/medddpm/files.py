"""Writing files so that a name never holds half a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside ``final`` that is renamed to it when the block ends well, and removed when it does not.

    The temporary name keeps the extension of ``final`` (writers choose the format by it) and starts with a dot. Raises
    InputError with a sentence where the disk is full or the folder cannot be written.
    """
    final = Path(final)
    temporary = final.with_name(f".part-{os.getpid()}-{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(final)
    except OSError as exc:
        raise InputError(
            f"{final} could not be written: {exc.strerror or exc}. Free space or choose another folder."
        ) from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 text under ``final``, whole or not at all."""
    with atomic_path(final) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
