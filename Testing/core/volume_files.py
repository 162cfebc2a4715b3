"""Small volumes and masks as files of every format, and headers by hand, for the tests of reading."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask, read_volume

SHAPE = (5, 6, 7)
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".seg.nrrd", ".mha", ".mhd", ".mgz", ".mgh")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def numbered(dtype: type = np.uint8) -> np.ndarray:
    """A volume whose voxels all differ."""
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def write_itk(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Written by ITK itself from LPS geometry, independently of the code under test."""
    image = sitk.GetImageFromArray(data.transpose(2, 1, 0))
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))


def write_any(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Written by nibabel or ITK, as the name says."""
    if ".nii" in path.name:
        nib.save(nib.Nifti1Image(data, affine), path)
    elif ".mg" in path.name:
        nib.save(nib.MGHImage(data, affine), path)
    else:
        write_itk(path, data, affine)


def nrrd_bytes(fields: dict[str, str], pairs: dict[str, str] | None = None, data: bytes = b"") -> bytes:
    """A file of NRRD with these fields and key-value pairs."""
    base = {"type": "uint8", "dimension": "3", "sizes": "5 6 7", "encoding": "raw"}
    lines = ["NRRD0004", *(f"{k}: {v}" for k, v in (base | fields).items())]
    lines += [f"{k}:={v}" for k, v in (pairs or {}).items()]
    return "\n".join(lines).encode() + b"\n\n" + data


LPS_FIELDS = {
    "space": "left-posterior-superior",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "space origin": "(10,20,30)",
}


LAYER_FIELDS = LPS_FIELDS | {
    "dimension": "4",
    "space directions": "none (1,0,0) (0,1,0) (0,0,2)",
    "kinds": "list domain domain domain",
    "sizes": "2 5 6 7",
}


def mha_bytes(data: bytes = bytes(210), **fields: str) -> bytes:
    """A file of MetaImage with these fields; ``ElementDataFile`` stays the last."""
    base = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": "5 6 7",
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    merged = {**{k: v for k, v in (base | fields).items() if k != "ElementDataFile"}}
    merged["ElementDataFile"] = fields.get("ElementDataFile", "LOCAL")
    return "".join(f"{k} = {v}\n" for k, v in merged.items()).encode() + data


def refused(path: Path, *words: str) -> None:
    """Reading as mask and as image both end in one InputError that names the file and every one of ``words``."""
    for read in (read_mask, read_volume):
        with pytest.raises(InputError) as info:
            read(path)
        for word in (str(path), *words):
            assert word in str(info.value)
