"""Which layout a source has, by looking at names alone."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from . import nnunet
from .brats import split_name
from .collect import MASK, image_files
from .med_ddpm import part_folders

BRATS, MED_DDPM, NNUNET, TABLE = "brats", "med-ddpm", "nnunet", "table"


def detect_layout(source: Path, table: Path | None = None) -> str:
    """The layout of ``source``: "table" for a CSV, else "nnunet", "med-ddpm" or "brats".

    Raises InputError where nothing is recognized.
    """
    if table is not None or source.is_file():
        return TABLE
    if (source / nnunet.NAME).is_file() and (source / "imagesTr").is_dir():
        return NNUNET
    parts = set(part_folders(source).values())
    if MASK in parts and len(parts) > 1:
        return MED_DDPM
    names = [path.name for path in image_files(source)]
    if not names:
        raise InputError(
            f"{source} holds no image files (.nii.gz, .nii, .nrrd, .mha). Convert DICOM series first, or check the "
            "folder."
        )
    strange = [name for name in names if split_name(name) is None]
    if 2 * len(strange) <= len(names):
        return BRATS
    raise InputError(
        f"{source} is laid out in no known way: it is no nnU-Net data set, has no folders 'mask' and 'image', and its "
        f"files, such as {strange[0]}, are not named like BraTS. Describe it by a table (CSV) with the columns case, "
        "mask and one for each modality."
    )
