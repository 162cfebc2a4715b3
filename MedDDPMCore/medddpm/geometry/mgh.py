"""FreeSurfer's volumes (.mgz, .mgh) through nibabel."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from nibabel.spatialimages import HeaderDataError

from ..errors import InputError, OutOfMemory
from .checks import check_affine, check_shape, check_spacing
from .length import check_gzip_length, check_length, check_size, read_on, unpacked
from .nifti import damage

_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    MGHError,
)
MAX_TAGS = 2**24  # bytes after the voxels: the scan's parameters, transforms, the history of commands


def read_mgh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and the affine to RAS+ mm (FreeSurfer's scanner coordinates). Raises InputError."""
    _, shape, affine = _checked(path)
    try:
        with unpacked(path, _packed(path)) as stream:
            data = np.asanyarray(nib.MGHImage.from_stream(stream).dataobj).reshape(shape, order="F")
            read_on(stream)
    except MemoryError as exc:
        raise OutOfMemory(f"{path} with {shape} voxels does not fit into memory. Crop or resample it first.") from exc
    except _READ_ERRORS as exc:
        raise InputError(f"{path} is truncated or damaged: {damage(exc)}. Copy or export it again.") from exc
    return data.astype(data.dtype.newbyteorder("="), copy=False), affine


def mgh_geometry(path: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine to RAS+ mm from the header; whether the voxels are all there is checked cheaply.

    Raises InputError.
    """
    header, shape, affine = _checked(path)
    _check_end(path, header)
    return shape, affine


def _check_end(path: Path, header: MGHHeader) -> str:
    """A sentence where something follows that is no part of the format, which has tags after the voxels."""
    needed = header.get_data_offset() + header.get_data_size()
    if _packed(path):
        return check_gzip_length(path, needed, more=MAX_TAGS)
    check_length(path, needed)
    return ""


def mgh_warnings(path: Path) -> tuple[str, ...]:
    """Sentences on what is odd about the file, or left open about the volume's place in space."""
    odd = _check_end(path, _header(path))
    with unpacked(path, _packed(path)) as stream:  # nibabel sets the flag itself where the file does not
        if int.from_bytes(stream.read(30)[28:], "big") == 1:
            return (odd,) if odd else ()
    guess = f"{path} does not say how it lies in the scanner (goodRASFlag is 0): left and right are a guess."
    return (odd, guess) if odd else (guess,)


def _checked(path: Path) -> tuple[MGHHeader, tuple[int, int, int], np.ndarray]:
    check_size(path)
    header = _header(path)
    shape = check_shape(path, header.get_data_shape())
    check_spacing(path, [float(v) for v in header["delta"]])
    affine = np.asarray(header.get_affine(), np.float64)
    check_affine(path, affine)
    return header, shape, affine


def _header(path: Path) -> MGHHeader:
    try:
        with unpacked(path, _packed(path)) as stream:
            return MGHHeader.from_fileobj(stream)
    except _READ_ERRORS as exc:
        raise InputError(
            f"{path} is truncated or damaged: its header cannot be read. Copy or export it again."
        ) from exc


def _packed(path: Path) -> bool:
    return path.name.lower().endswith(".mgz")
