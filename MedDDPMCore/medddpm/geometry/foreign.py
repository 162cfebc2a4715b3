"""Volumes that callers hold in memory: images of nibabel and SimpleITK, and arrays with an affine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError
from .checks import check_affine, check_shape
from .itk import LPS_TO_RAS
from .nifti import write_image
from .volume import Volume

# What functions for Python take for a mask or an image: a path, an image of nibabel or SimpleITK, or an array (X, Y, Z)
# with its affine (4x4, voxel index -> RAS mm).
Image = str | os.PathLike[str] | nib.spatialimages.SpatialImage | sitk.Image | tuple[np.ndarray, np.ndarray]


def as_file(image: Image, folder: Path, name: str) -> Path:
    """The path of ``image``, which is written as ``folder``/``name``.nii where it is in memory.

    Raises InputError, beginning with ``name``, where it is no 3D volume with a place in space.
    """
    if isinstance(image, str | os.PathLike):
        return Path(image)
    volume = _volume(image, name)
    path = folder / f"{name}.nii"
    try:
        write_image(path, volume.data, volume.affine, "")
    except (ValueError, TypeError) as exc:
        raise InputError(f"{name} cannot be used: {exc}.") from exc
    return path


def as_nibabel(volume: Volume) -> nib.Nifti1Image:
    """The volume as an image of nibabel, its place in sform and qform (code 1, scanner)."""
    image = nib.Nifti1Image(volume.data, volume.affine)
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def _volume(image: Any, name: str) -> Volume:
    if isinstance(image, sitk.Image):
        data, affine = _of_itk(image, name)
    elif isinstance(image, nib.spatialimages.SpatialImage):
        data, affine = np.asanyarray(image.dataobj), image.affine
    elif isinstance(image, tuple) and len(image) == 2:
        data, affine = (np.asarray(part) for part in image)
    else:
        raise InputError(
            f"{name} is of the type {type(image).__name__}. Give a path, an image of nibabel or SimpleITK, or an array "
            "with its affine, as (array, affine)."
        )
    if affine is None or np.shape(affine) != (4, 4) or np.asarray(affine).dtype.kind not in "iuf":
        raise InputError(f"{name} has no affine of 4 x 4 numbers, which places its voxels in the patient. Give one.")
    if data.dtype.kind not in "iufb":
        raise InputError(f"{name} holds {data.dtype}, but one number per voxel is needed.")
    place = np.asarray(affine, np.float64)
    check_affine(Path(name), place)
    return Volume(data.reshape(check_shape(Path(name), data.shape)), place)


def _of_itk(image: sitk.Image, name: str) -> tuple[np.ndarray, np.ndarray]:
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{name} has {image.GetDimension()} axes and {image.GetNumberOfComponentsPerPixel()} components per voxel; "
            "give a 3D image with one."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), LPS_TO_RAS @ affine
