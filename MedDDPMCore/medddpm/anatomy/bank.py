"""The bank of brains: label maps of healthy brains that come with the package."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..geometry.itk import read_itk
from ..geometry.volume import Volume

FOLDER = Path(__file__).parent / "maps"


def bank_names() -> tuple[str, ...]:
    """Names of the maps, in the order of their index."""
    return tuple(sorted(path.name.removesuffix(".nii.gz") for path in FOLDER.glob("*.nii.gz")))


@lru_cache(maxsize=3)
def load_bank_map(index: int) -> Volume:
    """Map ``index`` (0 to the number of ``bank_names()`` less one), uint8, read-only.

    Values 5 to 11 of the scheme glioma-anatomy, 0 outside the skull-stripped brain; 1 mm, cropped to the brain. The
    affine (voxel index -> RAS mm, oblique) places it in the frame of the BraTS data, turned as the brains there are.
    Raises InputError where the file is missing or damaged, IndexError where there is no such map.
    """
    path = FOLDER / f"{bank_names()[index]}.nii.gz"
    file = read_itk(path, "NiftiImageIO")  # also where nibabel is not installed
    assert file.layers is not None
    data = np.array(file.layers[..., 0], np.uint8)
    data.flags.writeable = False
    return Volume(data, file.affine)
