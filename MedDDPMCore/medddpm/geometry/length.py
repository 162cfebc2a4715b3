"""Whether a file has the bytes that its header promises: what was half copied is found without reading voxels."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..files import open_blocks
from .checks import MAX_BYTES

BLOCK = 2**22
# What follows the voxels (nothing, as a rule) is read up to so many MiB.
MAX_TRAILINGBLOCKS = 64
# A header with its extensions, the voxels, and what follows them: no file that is read has more bytes.
MAX_FILE_BYTES = 3 * MAX_BYTES


def check_size(path: Path) -> int:
    """The size of a file, bytes. Raises InputError where that is far more than any volume that is read can have."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"{path} has {size / 2**30:.0f} GB, more than the {MAX_FILE_BYTES / 2**30:g} GB accepted. Copy it again, "
            "crop it or resample it."
        )
    return size


def check_length(path: Path, needed: int, start: int = 0, beside: Path | None = None) -> str:
    """A sentence where more than ``needed`` bytes follow the byte ``start`` of the file, else "".

    ``path`` is the file whose header promises them, ``beside`` the one that has them where it is another. Raises
    InputError where fewer follow.
    """
    there = max(check_size(beside or path) - start, 0)
    if there < needed:
        raise truncated(path, f"{there} bytes", needed, beside)
    return f"{path} has more bytes than its header promises; they are ignored." if there > needed else ""


def check_gzip_length(path: Path, needed: int, start: int = 0, beside: Path | None = None, more: int = 0) -> str:
    """A sentence where more than ``needed`` bytes are packed, as gzip, after the byte ``start`` of the file, else "".

    A gzip file ends with the number of its bytes; only where that is not ``needed`` (up to ``more`` may follow) is it
    unpacked, block by block (it can have several members). ``path`` and ``beside`` as in ``check_length``. Raises
    InputError where fewer are there.
    """
    file = beside or path
    check_length(path, 4, start, beside)
    with file.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        if 0 <= (int.from_bytes(stream.read(4), "little") - needed) % 2**32 <= more:
            return ""
    count = 0
    try:
        with unpacked(file, start=start) as stream:
            while count < needed and (block := stream.read(min(BLOCK, needed - count))):
                count += len(block)
            after = read_on(stream)
    except (OSError, EOFError, zlib.error) as exc:
        raise InputError(
            f"{path} is truncated or damaged: its voxels{_place(beside)} end too early. Copy or export "
            f"{_what(beside)} again."
        ) from exc
    if count < needed:
        raise truncated(path, f"{count} bytes unpacked", needed, beside)
    if after is None:
        return f"{path} has something after its gzip data, which is ignored: perhaps it was changed in a transfer."
    return f"{path} has more bytes than its header promises; they are ignored." if after > more else ""


@contextlib.contextmanager
def unpacked(path: Path, packed: bool = True, start: int = 0) -> Iterator[io.BufferedIOBase]:
    """A file's bytes from ``start`` on, unpacked where they are ``packed`` with gzip; work that reads them can be
    cancelled.
    """
    with open_blocks(path) as stream:
        stream.seek(start)
        if not packed:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as inner:
            yield inner


def read_on(stream: io.BufferedIOBase) -> int | None:
    """Read on after the voxels, so that a gzip file's checksum is looked at.

    Returns how many bytes follow (64 MiB are read at most), or None where what follows is no gzip.
    """
    count = 0
    try:
        for _ in range(MAX_TRAILINGBLOCKS):
            if not (block := stream.read(2**20)):
                break
            count += len(block)
    except gzip.BadGzipFile as exc:
        if "Not a gzipped file" not in str(exc):
            raise
        return None
    return count


def truncated(path: Path, there: str, needed: int, beside: Path | None) -> InputError:
    """The error for a file that has only ``there`` of the ``needed`` bytes; ``beside`` as in ``check_length``."""
    promise = f"{there}{_place(beside)} where its header promises {needed}"
    return InputError(f"{path} is truncated: {promise}. Copy {_what(beside)} again.")


def _place(beside: Path | None) -> str:
    return "" if beside is None else f" in {beside.name}"


def _what(beside: Path | None) -> str:
    return "it" if beside is None else "both files"
