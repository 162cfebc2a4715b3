"""Masks of simple shapes in patient space, for the tests of labels and the mask check."""

from __future__ import annotations

import numpy as np
from medddpm.config import GridConfig, MaskPrior, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.geometry.volume import Mask, Segment, Volume
from medddpm.labels.morphology import erode
from medddpm.labels.scheme import load_scheme

SHAPE = (48, 52, 48)
SPACING = 4.0


def config(scheme: str = "brats", prior: MaskPrior | None = None) -> ModelConfig:
    """A model configuration with a shipped label scheme."""
    labels = load_scheme(scheme)
    return ModelConfig(
        name=f"test-{scheme}",
        modalities=("T1",),
        network=NetworkConfig(1, len(labels.labels)),
        schedule=ScheduleConfig(),
        scheme=labels,
        grid=GridConfig((64, 64, 64), (3.0, 3.0, 3.0)),
        mask_values=(-1.0, 1.0) if scheme == "whole-head" else (0.0, 1.0),
        prior=prior,
    )


def affine(spacing: float = SPACING, flips: tuple[int, int, int] = (1, 1, 1)) -> np.ndarray:
    """Axis-aligned RAS affine centered on the grid; a flip of -1 turns an axis round."""
    matrix = np.diag([*(spacing * np.array(flips, float)), 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return matrix


def millimeters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RAS coordinates of the default grid."""
    axes = [(np.arange(n) - (n - 1) / 2) * SPACING for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x, y, z


def ball(center: tuple[float, float, float], radius: float) -> np.ndarray:
    """A ball, mm."""
    return sum((c - m) ** 2 for c, m in zip(millimeters(), center, strict=True)) <= radius**2


def brain() -> np.ndarray:
    """An egg with its narrow end in front, and the front lifted: what makes a brain's way up recognizable."""
    x, y, z = millimeters()
    narrow = 1 - 0.25 * y / 84
    return (x / (68 * narrow)) ** 2 + (y / 84) ** 2 + ((z - 0.25 * y) / (58 * narrow)) ** 2 <= 1


def head() -> np.ndarray:
    """A dome on a cylinder that leaves the field of view at the neck; about 3.8 L."""
    x, y, z = millimeters()
    return ((x / 78) ** 2 + (y / 98) ** 2 <= 1) & (
        (z < 10) | ((x / 78) ** 2 + (y / 98) ** 2 + ((z - 10) / 78) ** 2 <= 1)
    )


def tumor(enhancing: int = 4) -> np.ndarray:
    """Nested edema 2, enhancing rim and necrotic core 1, inside of brain and head."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, radius in ((2, 26.0), (enhancing, 18.0), (1, 10.0)):
        labels[ball((25, -10, 15), radius)] = value
    return labels


def med_ddpm() -> np.ndarray:
    """A whole mask in the Med-DDPM convention."""
    labels = tumor(3)
    labels[brain() & (labels == 0)] = 4
    return labels


def anatomy() -> np.ndarray:
    """A whole mask in the values of glioma-anatomy: the tumor, and around it every tissue, nowhere plain brain."""
    x, y, z = millimeters()
    labels = np.where(brain(), 5, 0).astype(np.uint8)
    cortex, white = (erode(brain(), depth, (SPACING,) * 3) for depth in (4.0, 12.0))
    behind = (z < -20 + 0.25 * y) & (y < -20)
    labels[cortex] = np.where(behind, 10, 7)[cortex]
    labels[white] = 9
    labels[(np.abs(x) < 10) & (y < 0) & (y > -24) & (z < -8) & white] = 11
    for side in (-1, 1):
        labels[ball((side * 14, 0, 2), 11)] = 8
        labels[ball((side * 8, 10, 16), 9)] = 6
    return np.where(tumor(3) > 0, tumor(3), labels)


def whole_head() -> np.ndarray:
    """A whole mask in the whole-head convention."""
    labels = head().astype(np.uint8)
    labels[tumor() > 0] = 2
    return labels


def mask(labels: np.ndarray, matrix: np.ndarray | None = None, segments: tuple[Segment, ...] = ()) -> Mask:
    """A mask on the default grid."""
    return Mask(Volume(labels, affine() if matrix is None else matrix), segments)
