"""What a volume must satisfy before its voxels are read: bounded size, axes that place it in space, all its bytes."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import open_blocks

# A header is a stranger's word, and some kilobytes of gzip can hold what it says: 2**28 voxels (512 x 512 x 1024) are
# beyond almost any clinical scan, and so is 1 GiB of them.
MAX_VOXELS, MAX_BYTES = 2**28, 2**30
MIN_SPACING, MAX_SPACING = 0.01, 100.0  # mm
MAX_SHEAR = 0.5  # degrees by which two voxel axes may miss a right angle
MAX_OFFSET = 1e5  # mm from the scanner's origin
BLOCK = 2**22
# What follows the voxels (nothing, as a rule) is read up to so many MiB.
MAX_TRAILINGBLOCKS = 64
# A header with its extensions, the voxels, and what follows them: no file that is read has more bytes.
MAX_FILE_BYTES = 3 * MAX_BYTES


def check_shape(path: Path, shape: Sequence[int]) -> tuple[int, int, int]:
    """The three spatial sizes of a volume whose header says ``shape``; trailing axes of size 1 are dropped.

    Raises InputError for 2D and 4D arrays, axes without voxels and more than ``MAX_VOXELS`` voxels.
    """
    sizes = [int(n) for n in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    text = " x ".join(str(n) for n in sizes)
    if len(sizes) < 3:
        raise InputError(f"{path} is {len(sizes)}D ({text}), but a 3D volume is needed. Give the whole volume.")
    if len(sizes) > 3:
        raise InputError(f"{path} is {len(sizes)}D ({text}), but one 3D volume is needed. Split it and give one part.")
    if min(sizes) < 1:
        raise InputError(f"{path} has no voxels: its size is {text}. Export it again.")
    if sizes[0] * sizes[1] * sizes[2] > MAX_VOXELS:
        raise InputError(
            f"{path} claims to hold {text} voxels, more than the {MAX_VOXELS} that are accepted. "
            "Its header is damaged, or it must be cropped or resampled first."
        )
    return sizes[0], sizes[1], sizes[2]


def check_thickness(path: Path, shape: tuple[int, int, int], remedy: str = "") -> None:
    """Raises InputError, with a ``remedy``, where there is a single slice only."""
    if min(shape) == 1:
        size = " x ".join(map(str, shape))
        raise InputError(f"{path} is a single slice ({size}), but 3D is needed. Give the whole volume{remedy}.")


def check_bytes(path: Path, count: int) -> None:
    """Raises InputError where the voxels of a volume take more than ``MAX_BYTES``."""
    if count > MAX_BYTES:
        raise InputError(
            f"{path} claims {count / 2**30:.1f} GB of voxels, more than the {MAX_BYTES / 2**30:g} GB accepted. Store "
            "it with fewer bytes per voxel, crop it or resample it."
        )


def check_spacing(path: Path, spacing: Sequence[float]) -> None:
    """Raises InputError unless all three spacings (mm) are finite, positive and of a plausible size."""
    for axis, value in zip("xyz", spacing, strict=False):
        if not np.isfinite(value) or not MIN_SPACING <= value <= MAX_SPACING:
            raise InputError(
                f"{path} has a voxel spacing of {value:g} mm along its {axis} axis, but it must be between "
                f"{MIN_SPACING:g} and {MAX_SPACING:g} mm. Correct the spacing in the file's header."
            )


def check_affine(path: Path, affine: np.ndarray) -> None:
    """Raises InputError unless ``affine`` (4x4, voxel to mm) is finite, of plausible spacing, its axes orthogonal."""
    if not np.isfinite(affine).all():
        raise InputError(f"{path} has a value that is not a number in its orientation or origin. Export it again.")
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    check_spacing(path, spacing.tolist())
    shear = shear_degrees(affine)
    if shear > MAX_SHEAR:
        raise InputError(
            f"{path} has voxel axes that are not at right angles (shear of {shear:.1f} degrees). "
            "Resample it to a plain grid first."
        )
    if np.abs(affine[:3, 3]).max() > MAX_OFFSET:
        raise InputError(
            f"{path} lies {np.abs(affine[:3, 3]).max():g} mm from the origin, which is not plausible. Correct the "
            "origin in the file's header."
        )


def shear_degrees(affine: np.ndarray) -> float:
    """The largest angle, degrees, by which two columns of ``affine`` miss being orthogonal."""
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    cosines = np.abs(axes.T @ axes)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(min(1.0, float(cosines.max())))))


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
