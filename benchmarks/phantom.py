"""A made-up mask file of plausible size, so that the benchmarks need no patient's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from medddpm.config import ModelConfig
from medddpm.geometry.nifti import write_image

# A scan as BraTS has them.
SHAPE, SPACING = (240, 240, 155), (1.0, 1.0, 1.0)
# Half axes of a head with its skin and of a brain, and the radius of the outermost tumor part, mm.
HEAD_MM, BRAIN_MM, TUMOR_MM = (75.0, 92.0, 85.0), (66.0, 84.0, 62.0), 24.0


def write_phantom(
    path: Path,
    config: ModelConfig,
    shift_mm: float = 0.0,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> None:
    """Write an ellipsoid with nested balls as the tumor, in the values of the model's label scheme, as NIfTI.

    ``shift_mm`` moves the tumor along the left-right axis, as an edit of the mask would. Voxel axes are LPS.
    """
    scheme = config.scheme
    half_axes = BRAIN_MM if scheme.label(scheme.surround).name.lower().startswith("brain") else HEAD_MM
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij", sparse=True
    )
    a, b, c = half_axes
    labels = np.zeros(shape, np.uint8)
    labels[(x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 <= 1] = scheme.surround
    tumor = np.sqrt((x - 25 - shift_mm) ** 2 + (y + 10) ** 2 + (z - 10) ** 2)
    for i, value in enumerate(reversed(scheme.tumor_values)):
        labels[tumor <= TUMOR_MM * (1 - i / (len(scheme.tumor_values) + 1))] = value
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = [(shape[0] - 1) / 2 * spacing[0], (shape[1] - 1) / 2 * spacing[1], -(shape[2] - 1) / 2 * spacing[2]]
    write_image(path, labels, affine, "Made-up mask of MedDDPM's benchmarks")
