"""A head with structure inside, in two contrasts and at any place, for the tests of registration and preparation."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import load_scheme
from medddpm.preparation.facts import CaseFiles
from medddpm.preparation.options import PrepareOptions
from medddpm.preparation.register import turned
from synthesis_phantoms import CENTER, TUMOR, affine_of, phantom, positions

SHAPE, SPACING = (44, 54, 42), (4.0, 4.0, 4.0)
AFFINE = affine_of("LPS", SPACING, SHAPE)
GRID = GridConfig((20, 24, 20), (8.0, 8.0, 8.0), "LPS")


def motion(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    """Turns about the patient's three axes through the head's middle, then a shift (mm), 4x4."""
    matrix = np.eye(4)
    for axis, angle in enumerate(degrees):
        matrix = turned(axis, angle, np.array(CENTER)) @ matrix
    matrix[:3, 3] += shift
    return matrix


def intensities(points: np.ndarray, contrast: str) -> np.ndarray:
    """A skull-stripped brain at RAS positions (mm), (3, ...): gray and white matter, ventricles, a tumor."""
    x, y, z = points
    labels = phantom((x, y, z))
    shell = phantom(tuple(c + (p - c) * 1.15 for p, c in zip(points, CENTER, strict=True))) > 0  # type: ignore[arg-type]
    folds = np.sin(x / 9) * np.sin(y / 11 + 1) * np.sin(z / 8) > 0.1
    matter = np.where(shell & ~folds, 2, 1)
    for side in (-1, 1):
        parts = ((x - CENTER[0] - side * 14) / 8) ** 2 + ((y - CENTER[1]) / 30) ** 2 + ((z - CENTER[2] - 8) / 10) ** 2
        matter[parts < 1] = 3
    matter[np.isin(labels, (1, 2, 3))] = 4
    levels = {"T1": (0, 90, 130, 30, 60), "T2": (0, 120, 80, 200, 170), "FLAIR": (0, 110, 85, 25, 220)}[contrast]
    return np.where(labels > 0, np.array(levels, np.float32)[matter], 0).astype(np.float32)


def image(contrast: str, shape: tuple[int, int, int] = SHAPE, affine: np.ndarray = AFFINE, seed: int = 0) -> Volume:
    """The brain in a contrast on a grid, voxels averaged over 8 points, with a little noise inside."""
    total = _averaged(contrast, shape, affine.tobytes())
    noise = np.random.default_rng(seed).normal(0, 2, shape)
    return Volume(np.where(total > 0, np.maximum(total + noise, 1), 0).astype(np.float32), affine)


@lru_cache(maxsize=8)
def _averaged(contrast: str, shape: tuple[int, int, int], affine_bytes: bytes) -> np.ndarray:
    affine = np.frombuffer(affine_bytes).reshape(4, 4)
    total = np.zeros(shape, np.float32)
    for corner in np.ndindex(2, 2, 2):
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ (np.array(corner) / 2 - 0.25)
        total += intensities(np.stack(positions(shape, moved)), contrast) / 8
    return total


def template(grid: GridConfig = GRID, modalities: tuple[str, ...] = ("T1", "T2"), scheme: str = "brats") -> ModelConfig:
    """What a model to be trained would want."""
    labels = load_scheme(scheme)
    network = NetworkConfig(len(modalities), len(labels.labels), 32, (1,))
    return ModelConfig("to be trained", modalities, network, ScheduleConfig(), labels, grid)


def options(**changes: object) -> PrepareOptions:
    """The usual options with changes."""
    return PrepareOptions("source", "out", **changes)  # type: ignore[arg-type]


def tumor_labels(shape: tuple[int, int, int] = SHAPE, affine: np.ndarray = AFFINE) -> np.ndarray:
    """The mask as BraTS publishes it: 1, 2 and 4, no brain."""
    labels = phantom(positions(shape, affine))
    return np.array([0, 1, 2, 4, 0], np.uint8)[labels]


def write_case(folder: Path, name: str = "case-1", seed: int = 0, mask: np.ndarray | None = None) -> CaseFiles:
    """T1, T2 and the mask of a case as files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {contrast: folder / f"{name}_{contrast.lower()}.nii.gz" for contrast in ("T1", "T2")}
    for contrast, path in files.items():
        write_image(path, image(contrast, seed=seed).data, AFFINE, "test")
    write_image(folder / f"{name}_seg.nii.gz", tumor_labels() if mask is None else mask, AFFINE, "test")
    return CaseFiles(name, name, files, folder / f"{name}_seg.nii.gz")


__all__ = ["AFFINE", "CENTER", "GRID", "SHAPE", "TUMOR", "image", "motion", "options", "template", "write_case"]
