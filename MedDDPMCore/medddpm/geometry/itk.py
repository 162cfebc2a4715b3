"""NRRD and MetaImage files through SimpleITK, with the header checked before voxels are allocated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError, OutOfMemory
from ..files import atomic_path
from .checks import check_affine, check_bytes, check_shape, check_spacing
from .itk_header import check_data_file, check_header, check_itk_length, read_header
from .volume import Stored

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_LAYERS = 256


def read_itk(path: Path, image_io: str, voxels: bool = True) -> Stored:
    """The file, or its header alone, with the ITK reader named ``image_io`` ("NrrdImageIO" or "MetaImageIO").

    Whether all voxels are there is checked by their number. Raises InputError.
    """
    reader, affine, notes = _opened(path, image_io, unpack=voxels)
    shape = check_shape(path, reader.GetSize())
    if not voxels:
        return Stored(None, shape, affine, notes)
    try:
        image = reader.Execute()
    except MemoryError as exc:
        raise OutOfMemory(f"{path} with {reader.GetSize()} voxels does not fit into memory. Crop it first.") from exc
    except RuntimeError as exc:
        raise InputError(
            f"{path} is truncated or damaged: its voxels cannot be read. Copy or export it again."
        ) from exc
    array = sitk.GetArrayFromImage(image)
    layers = array.reshape(*reversed(shape), image.GetNumberOfComponentsPerPixel()).transpose(2, 1, 0, 3)
    return Stored(layers, shape, affine, notes, {key: _metadata(reader, key) for key in reader.GetMetaDataKeys()})


def _opened(
    path: Path, image_io: str, unpack: bool = False
) -> tuple[sitk.ImageFileReader, np.ndarray, tuple[str, ...]]:
    """A reader that has read and checked the header, and the file's size against it; the affine to RAS+ mm; sentences
    on what is odd. With ``unpack`` packed voxels are looked at, too.
    """
    if image_io != "NiftiImageIO":  # which reads the bank's own maps only
        check_header(path)
    check_data_file(path)
    if any("\ud800" <= character <= "\udfff" for character in str(path)):  # ITK would take the process down
        raise InputError(f"{path} has a name that is not UTF-8 text. Rename the file or its folder.")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as exc:
        raise InputError(
            f"{path} has a header that cannot be understood, or more than three spatial axes. "
            "Export it as one 3D volume."
        ) from exc
    shape = check_shape(path, reader.GetSize())
    components = reader.GetNumberOfComponents()
    values = components * int(np.prod(shape, dtype=np.int64))
    if components > MAX_LAYERS:
        raise InputError(f"{path} claims {components} values a voxel, which is too many. Its header is damaged.")
    if reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise InputError(f"{path} holds complex numbers, but one number a voxel is needed. Export it as such.")
    needed = values * sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    check_bytes(path, needed)
    odd = check_itk_length(path, needed, unpack)
    check_spacing(path, reader.GetSpacing()[:3])
    dimension = len(reader.GetSize())
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    affine = LPS_TO_RAS @ affine
    check_affine(path, affine)
    notes: tuple[str, ...] = (odd,) if odd else ()
    header, _ = read_header(path) if image_io == "NrrdImageIO" else (b"", 0)
    if header and not re.search(rb"^space:", header, re.MULTILINE):
        notes += (f"{path} does not say how it lies in the patient (no 'space' field): LPS axes are assumed.",)
    return reader, affine, notes


def _metadata(reader: sitk.ImageFileReader, key: str) -> str:
    try:
        return str(reader.GetMetaData(key))
    except (UnicodeError, TypeError):  # the key or the value is not UTF-8 text: no segment's field
        return ""


def write_nrrd(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write (X, Y, Z) voxels with their affine to RAS+ mm as an uncompressed ``.nrrd``, which loads fast.

    Raises InputError where it cannot be written.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(data).transpose(2, 1, 0)))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=False, imageIO="NrrdImageIO")
