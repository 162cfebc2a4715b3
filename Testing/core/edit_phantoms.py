"""A scan, a region of it, and local edits of them, for the tests of local edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from medddpm.geometry.nifti import write_image
from medddpm.models.model import Model
from small_models import reference_network
from synthesis_phantoms import CENTER, affine_of, phantom, positions, save_mask, tiny_config

Edit = dict[str, Any]  # options of a synthesis
SHAPE, SPACING = (42, 50, 40), (4.0, 4.0, 4.0)
AFFINE = affine_of("LPS", SPACING, SHAPE)
SEAM = 10.0
# The voxels to make anew: a ball around the middle of the brain, mm.
RADIUS = 25.0


def distances() -> np.ndarray:
    """Of every voxel of the mask's grid to the center of the brain, mm."""
    return np.sqrt(sum((p - c) ** 2 for p, c in zip(positions(SHAPE, AFFINE), CENTER, strict=True)))


def scan(factor: float, offset: float = 0.0) -> np.ndarray:
    """A skull-stripped image with a texture by which every voxel can be told from its neighbors."""
    points = positions(SHAPE, AFFINE)
    texture = 60 + sum(10 * np.sin(p / w) for p, w in zip(points, (9.0, 13.0, 17.0), strict=True))
    return np.where(phantom(points) > 0, texture * factor + offset, 0.0)


def mask_of(edit: Edit) -> Path:
    """The mask beside the region."""
    return Path(edit["region"]).parent / "brain.nii.gz"


class Bright(Model):
    """A model whose images are the brightest value everywhere."""

    def predict_x0(self, x_t: torch.Tensor, condition: torch.Tensor, t: int) -> torch.Tensor:
        return torch.ones_like(x_t)


def bright() -> Model:
    """A model of that kind on the tiny grid."""
    config = tiny_config()
    return Bright(config, reference_network(config.network), torch.device("cpu"), torch.float32, "0" * 64)


def made_edit(folder: Path) -> Edit:
    """Mask, region and the two images of a scan as files, and the options that make it a local edit."""
    save_mask(folder / "brain.nii.gz")
    write_image(folder / "region.nii.gz", (distances() <= RADIUS).astype(np.uint8), AFFINE, "region")
    write_image(folder / "t1.nii.gz", np.rint(scan(7.0)).astype(np.int16), AFFINE, "scan")
    write_image(folder / "flair.nii.gz", scan(0.013, 0.5).astype(np.float32), AFFINE, "scan")
    known = (f"T1={folder / 't1.nii.gz'}", f"flair={folder / 'flair.nii.gz'}")
    return {"context": known, "region": folder / "region.nii.gz", "seam_mm": SEAM, "device": "cpu"}
