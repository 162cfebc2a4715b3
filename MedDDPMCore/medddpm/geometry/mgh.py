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
from .checks import (
    check_affine,
    check_gzip_length,
    check_length,
    check_shape,
    check_size,
    check_spacing,
    read_on,
    unpacked,
)
from .nifti import damage
from .volume import Stored

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


def read_mgh(path: Path, voxels: bool = True) -> Stored:
    """The file, or its header alone; whether all voxels are there is then checked cheaply.

    The affine is that of FreeSurfer's scanner coordinates. Raises InputError.
    """
    check_size(path)
    header = _header(path)
    shape = check_shape(path, header.get_data_shape())
    check_spacing(path, [float(v) for v in header["delta"]])
    affine = np.asarray(header.get_affine(), np.float64)
    check_affine(path, affine)
    notes = tuple(sentence for sentence in (_check_end(path, header), _place_note(path)) if sentence)
    if not voxels:
        return Stored(None, shape, affine, notes)
    try:
        with unpacked(path, _packed(path)) as stream:
            data = np.asanyarray(nib.MGHImage.from_stream(stream).dataobj).reshape(*shape, 1, order="F")
            read_on(stream)
    except MemoryError as exc:
        raise OutOfMemory(f"{path} with {shape} voxels does not fit into memory. Crop or resample it first.") from exc
    except _READ_ERRORS as exc:
        raise InputError(f"{path} is truncated or damaged: {damage(exc)}. Copy or export it again.") from exc
    return Stored(data.astype(data.dtype.newbyteorder("="), copy=False), shape, affine, notes)


def _check_end(path: Path, header: MGHHeader) -> str:
    """A sentence where something follows that is no part of the format, which has tags after the voxels."""
    needed = header.get_data_offset() + header.get_data_size()
    if _packed(path):
        return check_gzip_length(path, needed, more=MAX_TAGS)
    check_length(path, needed)
    return ""


def _place_note(path: Path) -> str:
    with unpacked(path, _packed(path)) as stream:  # nibabel sets the flag itself where the file does not
        if int.from_bytes(stream.read(30)[28:], "big") == 1:
            return ""
    return f"{path} has unknown orientation (goodRASFlag is 0): left and right are a guess."


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
