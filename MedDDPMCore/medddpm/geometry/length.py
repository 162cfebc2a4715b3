"""Whether a file has all the bytes that its header promises: what was half copied is found without reading voxels."""

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

_BLOCK = 2**22
# What follows the voxels (nothing, as a rule) is read up to so many MiB.
MAX_TRAILING_BLOCKS = 64


def check_length(path: Path, needed: int, start: int = 0, beside: Path | None = None) -> None:
    """Raises InputError unless ``needed`` bytes follow the byte ``start`` of the file.

    ``path`` is the file whose header promises them, ``beside`` the one that has them where it is another.
    """
    there = max((beside or path).stat().st_size - start, 0)
    if there < needed:
        raise _truncated(path, f"{there} bytes", needed, beside)


def check_gzip_length(path: Path, needed: int, start: int = 0, beside: Path | None = None) -> None:
    """Raises InputError unless ``needed`` bytes are packed, as gzip, after the byte ``start`` of the file.

    A gzip file ends with the number of its bytes; only where that is not ``needed`` is it unpacked, block by block (it
    can have several members). ``path`` and ``beside`` as in ``check_length``.
    """
    file = beside or path
    check_length(path, 4, start, beside)
    with file.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        if int.from_bytes(stream.read(4), "little") == needed % 2**32:
            return
    count = 0
    try:
        with unpacked(file, start=start) as stream:
            while count < needed and (block := stream.read(min(_BLOCK, needed - count))):
                count += len(block)
            read_on(stream)
    except (OSError, EOFError, zlib.error) as exc:
        raise InputError(
            f"{path} is truncated or damaged: its voxels{_place(beside)} end too early. Copy or export "
            f"{_what(beside)} again."
        ) from exc
    if count < needed:
        raise _truncated(path, f"{count} bytes unpacked", needed, beside)


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


def read_on(stream: io.BufferedIOBase) -> None:
    """Read on after the voxels, so that a gzip file's checksum is looked at; what is no gzip there is ignored."""
    try:
        for _ in range(MAX_TRAILING_BLOCKS):
            if not stream.read(2**20):
                return
    except gzip.BadGzipFile as exc:
        if "CRC" in str(exc):
            raise


def _truncated(path: Path, there: str, needed: int, beside: Path | None) -> InputError:
    promise = f"{there}{_place(beside)} where its header promises {needed}"
    return InputError(f"{path} is truncated: {promise}. Copy {_what(beside)} again.")


def _place(beside: Path | None) -> str:
    return "" if beside is None else f" in {beside.name}"


def _what(beside: Path | None) -> str:
    return "it" if beside is None else "both files"
