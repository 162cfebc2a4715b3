"""NIfTI and FreeSurfer's volumes through nibabel, with the raw header checked before nibabel repairs it silently."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from ..errors import InputError, OutOfMemory
from ..files import atomic_path
from .checks import (
    MAX_BYTES,
    check_affine,
    check_bytes,
    check_gzip_length,
    check_length,
    check_shape,
    check_size,
    check_spacing,
    read_on,
    unpacked,
)
from .volume import Stored, spacing_of

DESCRIPTION_BYTES = 79  # the header's field is 80 bytes and ends with a zero
MAX_TAGS = 2**24  # bytes after an MGH's voxels: the scan's parameters, transforms, the history of commands
_READ_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, zlib.error),
    *(ImageFileError, HeaderDataError, WrapStructError, MGHError),
)
_PLACE = "pixdim sform_code qform_code quatern_b quatern_c quatern_d qoffset_x qoffset_y qoffset_z srow_x srow_y srow_z"
_UNIT_MM = {1: 1000.0, 3: 0.001}  # NIfTI unit codes of meter and micrometer; any other is read as mm


def read_nifti(path: Path, voxels: bool = True) -> Stored:
    """The file, or its header alone; whether all voxels are there is then checked cheaply.

    The affine is the sform, else the qform, else that of ITK; ``metadata`` has the header's words for its place. Raises
    InputError.
    """
    packed = path.name.lower().endswith(".gz")
    with unpacked(path, packed) as stream:
        header = _raw_header(path, stream)
        count = int(header["dim"][0])
        if not 1 <= count <= 7:
            raise InputError(f"{path} has {count} as its number of axes; its header is damaged. Export it again.")
        shape = check_shape(path, [int(n) for n in header["dim"][1 : count + 1]])
        _check_raw(path, header, shape)
        needed = int(header["vox_offset"]) + shape[0] * shape[1] * shape[2] * int(header.get_data_dtype().itemsize)
        odd = (check_gzip_length if packed else check_length)(path, needed)
        placed = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
        # Without a place the affine is that of ITK, and with it of 3D Slicer: LPS axes from the origin.
        as_itk = np.diag([*(np.asarray(header["pixdim"][1:4], np.float64) * [-1, -1, 1]), 1.0])
        try:
            stream.seek(0)
            form = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
            image = cast(nib.Nifti1Image, form.from_stream(stream))
            affine = _in_mm(header) @ np.asarray(image.affine if placed else as_itk, np.float64)
        except _READ_ERRORS as exc:
            first = (str(exc) or type(exc).__name__).splitlines()[0].rstrip(".")
            raise InputError(f"{path} has a NIfTI header that makes no sense: {first}. Export it again.") from exc
        check_affine(path, affine)
        _check_place(path, header, affine)
        notes = tuple(sentence for sentence in (odd, *_notes(path, header, placed)) if sentence)
        place = {field: header[field] for field in _PLACE.split()} | {"xyzt_units": int(header["xyzt_units"]) & 7}
        data = _voxels(path, shape, image, stream) if voxels else None
    return Stored(data, shape, affine, notes, place)


def _notes(path: Path, header: nib.Nifti1Header, placed: bool) -> Iterator[str]:
    """Sentences on what is left open about the volume's place in space."""
    if not placed:
        yield (
            f"{path} has unknown orientation (sform and qform codes are 0): LPS axes are assumed, as in 3D Slicer. "
            "Left and right are a guess."
        )
    if min(header["pixdim"][1:4]) < 0:
        yield f"{path} has negative voxel sizes beside its sform, which is used; 3D Slicer mirrors it."
    if _forms_differ(header):
        yield f"{path} has an sform and a qform that place it more than 1 mm apart: the sform is used."
    if int(header["xyzt_units"]) & 7 in _UNIT_MM:
        yield f"{path} has its spacing in meters or micrometers: it was converted to millimeters."


def write_image(path: Path, data: np.ndarray, affine: np.ndarray, description: str, over: Path | None = None) -> None:
    """Write a NIfTI volume, whole or not at all.

    ``data`` (X, Y, Z): floats are written as float32, booleans and integers in the smallest fitting of uint8, int16
    and int32. ``affine`` maps voxels to RAS+ mm and becomes sform and qform, both with code 1 (scanner).
    ``description`` goes to the header's ``descrip``: at most 79 ASCII bytes, the rest is cut, other characters
    become ``?``. ``over``: the file on whose grid it lies; where that is NIfTI, its header's words for that are
    repeated, so that every program lays the one over the other, however it reads them. Raises InputError for another
    extension than .nii or .nii.gz and where it cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path} cannot be written: images are written as NIfTI. End its name in .nii.gz.")
    if data.ndim != 3:
        raise ValueError(f"one 3D volume to a file, not an array of shape {data.shape}")
    image = nib.Nifti1Image(_storable(data), None)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:DESCRIPTION_BYTES]
    image.header.set_qform(np.asarray(affine, np.float64), code=1)
    image.header.set_sform(np.asarray(affine, np.float64), code=1)
    for field, value in _place_of(over, data.shape, affine).items():
        image.header[field] = value
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _place_of(path: Path | None, shape: tuple[int, ...], affine: np.ndarray) -> Mapping[str, Any]:
    """The fields of a NIfTI header that say how the volume lies; none where the file has another grid."""
    if path is None or not path.name.lower().endswith((".nii", ".nii.gz")):
        return {}
    try:
        own = read_nifti(path, voxels=False)
    except (InputError, OSError):  # it is gone meanwhile
        return {}
    return own.metadata if own.shape == shape and np.allclose(own.affine, affine, atol=1e-4) else {}


def _storable(data: np.ndarray) -> np.ndarray:
    if data.dtype.kind == "f":
        return data.astype(np.float32, copy=False)
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return data.astype(dtype)
    raise ValueError(f"integers from {low} to {high} do not fit a NIfTI image")


def _raw_header(path: Path, stream: io.BufferedIOBase) -> nib.Nifti1Header:
    """The header as the file has it; nibabel's own loading would turn a zero or negative spacing into a good one."""
    try:
        block = stream.read(540)
        size = int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")
        header = nib.Nifti2Header(block, check=False) if 540 in size else nib.Nifti1Header(block[:348], check=False)
    except _READ_ERRORS as exc:
        raise InputError(
            f"{path} is truncated or damaged: its header cannot be read. Copy or export it again."
        ) from exc
    if not bytes(header["magic"]).startswith(b"n+"):
        raise InputError(f"{path} is an Analyze or a two-part NIfTI file. Convert it to a single .nii.gz file.")
    return header


def _check_raw(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> None:
    _check_pixdim(path, header)
    first = float(header["vox_offset"])
    if not int(header["sizeof_hdr"]) + 4 <= first < MAX_BYTES:
        raise InputError(f"{path} says that its voxels begin at byte {first:g}, which is impossible. Export it again.")
    try:
        dtype = header.get_data_dtype()
    except _READ_ERRORS as exc:
        raise InputError(f"{path} has the unknown data type code {int(header['datatype'])}. Export it again.") from exc
    if int(header["datatype"]) == 1:
        raise InputError(f"{path} holds single bits, eight voxels per byte. Export it with 8 bits per voxel.")
    if dtype.names or dtype.kind not in "iuf":
        raise InputError(
            f"{path} holds colors or complex numbers, but one number per voxel is needed. Export it as such."
        )
    check_bytes(path, shape[0] * shape[1] * shape[2] * dtype.itemsize)
    check_size(path)


def _check_pixdim(path: Path, header: nib.Nifti1Header) -> None:
    """Raises InputError for spacings that cannot be; their signs say nothing where there is an sform."""
    own, mm = [float(v) for v in header["pixdim"][1:4]], float(_in_mm(header)[0, 0])
    try:
        check_spacing(path, [abs(v) * mm if header["sform_code"] > 0 else v * mm for v in own])
    except InputError as exc:
        unit = {1: "meters", 3: "micrometers"}.get(int(header["xyzt_units"]) & 7)
        said = "" if unit is None else f" By its header, spacings are in {unit}; perhaps {own[0]:g} mm is meant."
        raise InputError(f"{exc}{said}") from exc


def _in_mm(header: nib.Nifti1Header) -> np.ndarray:
    scale = _UNIT_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.diag([scale, scale, scale, 1.0])


def _check_place(path: Path, header: nib.Nifti1Header, affine: np.ndarray) -> None:
    """Raises InputError where the header contradicts itself, so that programs see the volume at different places.

    ITK (3D Slicer, ITK-SNAP) takes spacings from pixdim even where an sform tells the directions, and the qform unless
    the sform's code is 1.
    """
    fix = "Open it in 3D Slicer over its scan, correct what is wrong there, and save it again."
    sform = int(header["sform_code"])
    pixdim = np.abs(np.asarray(header["pixdim"][1:4], np.float64)) * _in_mm(header)[0, 0]
    spacing = np.array(spacing_of(affine))
    if sform > 0 and (np.abs(pixdim - spacing) * header["dim"][1:4]).max() > 1.0:
        sizes = (" x ".join(f"{size:.4g}" for size in given) for given in (pixdim, spacing))
        raise InputError(
            f"{path} has two voxel sizes, {next(sizes)} mm (pixdim) and {next(sizes)} mm (sform): programs differ in "
            f"which they take. {fix}"
        )
    if sform > 1 and _forms_differ(header):
        raise InputError(
            f"{path} has an sform and a qform that place it more than 1 mm apart: programs differ in which they take. "
            f"{fix}"
        )


def _forms_differ(header: nib.Nifti1Header) -> bool:
    """Whether there is an sform and a qform, more than 1 mm apart somewhere."""
    if header["sform_code"] <= 0 or header["qform_code"] <= 0 or min(header["pixdim"][1:4]) < 0:
        return False
    header = header.copy()
    header["pixdim"][0] = header["pixdim"][0] or 1.0  # which 0 means, by the standard
    try:
        difference = header.get_sform() - header.get_qform()
    except _READ_ERRORS:
        return True
    sizes = np.array(np.meshgrid(*[(0, int(n) - 1) for n in header["dim"][1:4]])).reshape(3, -1)
    return bool(np.abs(difference @ np.vstack([sizes, np.ones(sizes.shape[1])])).max() > 1.0)


def _voxels(
    path: Path, shape: tuple[int, int, int], image: nib.spatialimages.SpatialImage, stream: io.BufferedIOBase
) -> np.ndarray:
    """The scaled voxels, (X, Y, Z, 1). nibabel stops after the last one; a gzip file's checksum comes at its end."""
    try:
        data = np.asanyarray(image.dataobj).reshape(*shape, 1, order="F")
        read_on(stream)
    except MemoryError as exc:
        raise OutOfMemory(f"{path} with {shape} voxels does not fit into memory. Crop or resample it first.") from exc
    except _READ_ERRORS as exc:
        bad = re.search("CRC|Incorrect length", str(exc))
        damage = "its checksum is wrong" if bad else "its voxels end too early"
        raise InputError(f"{path} is truncated or damaged: {damage}. Copy or export it again.") from exc
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def read_mgh(path: Path, voxels: bool = True) -> Stored:
    """A volume of FreeSurfer (.mgz, .mgh), or its header alone; whether all voxels are there is then checked cheaply.

    The affine is that of FreeSurfer's scanner coordinates. Raises InputError.
    """
    check_size(path)
    packed = path.name.lower().endswith(".mgz")
    with unpacked(path, packed) as stream:
        try:
            placed = int.from_bytes(stream.read(30)[28:], "big") == 1  # nibabel sets the flag where the file does not
            stream.seek(0)
            header = MGHHeader.from_fileobj(stream)
        except _READ_ERRORS as exc:
            raise InputError(
                f"{path} is truncated or damaged: its header cannot be read. Copy or export it again."
            ) from exc
        shape = check_shape(path, header.get_data_shape())
        check_spacing(path, [float(v) for v in header["delta"]])
        affine = np.asarray(header.get_affine(), np.float64)
        check_affine(path, affine)
        needed = header.get_data_offset() + header.get_data_size()
        odd = check_gzip_length(path, needed, more=MAX_TAGS) if packed else ""
        if not packed:
            check_length(path, needed)  # what follows are tags
        note = "" if placed else f"{path} has unknown orientation (goodRASFlag is 0): left and right are a guess."
        notes = tuple(sentence for sentence in (odd, note) if sentence)
        stream.seek(0)
        data = _voxels(path, shape, nib.MGHImage.from_stream(stream), stream) if voxels else None
    return Stored(data, shape, affine, notes)
