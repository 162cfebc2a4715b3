"""Small data sets in the layouts of others, for the tests of the preparation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from medddpm.geometry.nifti import write_image
from medddpm.preparation.facts import SourceScan

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
BRATS_2021 = ("t1", "t1ce", "t2", "flair", "seg")
BRATS_2023 = ("t1n", "t1c", "t2w", "t2f", "seg")
HEAD_SHAPE, HEAD_AFFINE = (50, 60, 50), np.diag([-4.0, -4.0, 4.0, 1.0])


def write_tiny(path: Path, shape: tuple[int, int, int] = (6, 5, 4), affine: np.ndarray = AFFINE) -> Path:
    """A file that is good enough for a scan, which reads headers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(path.name)).integers(0, 255, shape)
    write_image(path, values, affine, "test")
    return path


def brats_case(
    folder: Path,
    case: str,
    parts: Sequence[str] = BRATS_2021,
    separator: str = "_",
    ending: str = ".nii.gz",
    place: Path | str = "",
) -> Path:
    """A case as BraTS publishes it, of files that are good enough for a scan; the case's folder."""
    home = folder / place / case
    for part in parts:
        write_tiny(home / f"{case}{separator}{part}{ending}")
    return home


def head_phantom(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images T1 and T2 of a skull-stripped brain with a tumor, and BraTS labels; (50, 60, 50) voxels of 4 mm."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in HEAD_SHAPE], indexing="ij")
    radii = 0.68 + 0.06 * random.random(3)
    brain = (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1
    center = 0.25 * random.random(3) - 0.1
    distance = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2)
    labels = np.select([distance < 0.12, distance < 0.18, distance < 0.28], [1, 4, 2], 0).astype(np.uint8)
    texture = random.normal(0, 4, HEAD_SHAPE)
    for _ in range(6):  # no two patients look the same
        waves = random.normal(0, 5, 3)
        texture += 12 * np.sin(waves[0] * x + waves[1] * y + waves[2] * z + random.uniform(0, 6))
    t1 = np.where(brain, 100 + 20 * x + texture + 40 * (labels == 4) - 30 * (labels == 1), 0)
    t2 = np.where(brain, 60 + 10 * y + texture + 60 * (labels == 2), 0)
    return {"t1": t1.astype(np.float32), "t2": t2.astype(np.float32)}, labels


def write_head(folder: Path, case: str, seed: int, affine: np.ndarray = HEAD_AFFINE) -> Path:
    """A ``head_phantom`` as a case in the layout of BraTS 2021; the case's folder."""
    images, labels = head_phantom(seed)
    home = folder / case
    home.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        write_image(home / f"{case}_{name}.nii.gz", image, affine, "test")
    write_image(home / f"{case}_seg.nii.gz", labels, affine, "test")
    return home


def codes(scan: SourceScan) -> list[str]:
    """The kinds of all problems."""
    return [problem.code for problem in scan.problems]


def only_problem(scan: SourceScan, *words: str) -> None:
    """There is one problem, and its sentence has ``words``."""
    assert len(scan.problems) == 1, codes(scan)
    for word in words:
        assert word in scan.problems[0].sentence
