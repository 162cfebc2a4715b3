"""Files: read only where they are ordinary ones of a plausible size, written so that a name never holds half of one."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import secrets
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .errors import FREE_SPACE, InputError
from .parse import printable

FORMULA = ("=", "+", "-", "@")  # a cell that begins so is computed by spreadsheets
MAX_TEXT_BYTES = 16 * 2**20
_NOT_ORDINARY = (errno.ELOOP, errno.EISDIR, errno.ENXIO)
_BLOCK = 2**22
_check: ContextVar[Callable[[], None]] = ContextVar("_check", default=lambda: None)


@contextlib.contextmanager
def cancelled_by(check: Callable[[], None]) -> Iterator[None]:
    """Let ``check`` (which raises Cancelled) end the reading of a large file within this ``with`` block."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def check_cancelled() -> None:
    """Raise Cancelled where the job or command that this work belongs to was asked to stop."""
    _check.get()()


class _Blocks(io.FileIO):
    def readinto(self, buffer, /):  # type: ignore[no-untyped-def]
        check_cancelled()
        return super().readinto(memoryview(buffer)[:_BLOCK])


def open_blocks(path: Path) -> io.BufferedReader:
    """An ordinary file that is read in blocks, between which the work can be cancelled."""
    return io.BufferedReader(_Blocks(open_regular(path)))


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside ``final`` that is renamed to it when the block ends well, and removed when it does not.

    The temporary name keeps the extension of ``final`` (writers choose the format by it) and starts with a dot; nobody
    can have put a link there. Raises InputError with a sentence where the disk is full or the folder cannot be written.
    """
    final = Path(final)
    temporary = final.with_name(f".part-{os.getpid()}-{secrets.token_hex(4)}-{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(final)
    except OSError as exc:
        sentence = f"{final} could not be written: {exc.strerror or exc}. {FREE_SPACE}"
        raise InputError(sentence, path=final) from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it does not exist. Raises InputError where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"The folder {folder} cannot be made: {exc.strerror or exc}. Choose another folder.") from exc


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 text under ``final``, whole or not at all."""
    with atomic_path(final) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def csv_text(rows: Iterable[Iterable[str | float | None]]) -> str:
    """Rows as CSV. Numbers stay numbers; text is quoted, and a spreadsheet can take none of it for a formula.

    Text that would begin one has an apostrophe before it, as spreadsheets mark text themselves.
    """
    stream = io.StringIO()
    lines = ([_text_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _text_cell(text: str) -> str:
    text = printable(text)
    return f"'{text}" if unicodedata.normalize("NFKC", text).lstrip().startswith(FORMULA) else text


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of an ordinary file's bytes."""
    with open_blocks(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_text(path: Path, what: str = "The file", limit: int = MAX_TEXT_BYTES) -> str:
    """The text of an ordinary file of at most ``limit`` bytes, UTF-8 with or without a byte order mark.

    Raises InputError, which begins with ``what`` the file is and its path.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise InputError(f"{what} {path} has more than {limit:,} bytes, the most accepted. Give another file.")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InputError(f"{what} {path} is not UTF-8 text. Save or copy it again.") from exc
    except (OSError, ValueError) as exc:  # ValueError: a zero byte in the name
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise InputError(f"{what} {path} cannot be read: {reason}. Check its name and permissions.") from exc


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of an ordinary file, not a link, of at most ``limit`` bytes.

    Raises InputError for anything else, and FileNotFoundError where nothing is there.
    """
    with os.fdopen(open_regular(path, links=False), "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} is larger than {limit} bytes and cannot be what its name says. Submit the job again.")
    return data


def read_tail(path: Path, limit: int) -> str:
    """The last ``limit`` bytes of a text that grows (a log), not through a link; empty where it cannot be read."""
    with contextlib.suppress(OSError, InputError), os.fdopen(open_regular(path, links=False), "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
        return stream.read(limit).decode("utf-8", "replace")
    return ""


def read_json(path: Path, limit: int, problem: str) -> dict[str, Any]:
    """The JSON object in a file that ``read_bounded`` accepts. Raises InputError, ``problem`` where it holds none."""
    try:
        data = json.loads(read_bounded(path, limit))
    except (OSError, ValueError, RecursionError) as exc:
        raise InputError(problem) from exc
    if not isinstance(data, dict):
        raise InputError(problem)
    return data


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600, links: bool = True) -> int:
    """``os.open`` for an ordinary file; a pipe, device or folder, and without ``links`` a link, is refused.

    Raises FileNotFoundError where nothing is there (and ``flags`` do not create it) and InputError for anything else
    that is not an ordinary file. Opening never blocks, whatever the name turns out to be.
    """
    for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", *(() if links else ("O_NOFOLLOW",))):  # some systems' only
        flags |= getattr(os, flag, 0)
    if not links and Path(path).is_symlink():
        raise _refusal(path, links)
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as exc:
        if exc.errno in _NOT_ORDINARY:
            raise _refusal(path, links) from exc
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refusal(path, links)
    return descriptor


def _refusal(path: Path, links: bool) -> InputError:
    if links:
        return InputError(f"{path} is not an ordinary file but a folder, pipe or device. Name a file.")
    return InputError(
        f"{path} is a link or not an ordinary file, which is not accepted in a job. Submit the job again."
    )
