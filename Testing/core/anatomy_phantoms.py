"""Brains with folds, ventricles, cerebellum and brainstem as plain formulas, at any place, for the tests of anatomy."""

from __future__ import annotations

import numpy as np
from medddpm.geometry.volume import Volume

SHAPE = (56, 68, 56)
AFFINE = np.array([[-3.0, 0, 0, 84], [0, -3.0, 0, 100], [0, 0, 3.0, -80], [0, 0, 0, 1]])  # LPS voxel axes, RAS mm
CSF, VENTRICLES, CORTEX, DEEP_GRAY, WHITE, CEREBELLUM, BRAINSTEM = range(5, 12)


def points_of(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Position of each voxel, RAS mm, (3, X, Y, Z)."""
    return np.tensordot(affine[:3, :3], np.indices(shape), 1) + affine[:3, 3].reshape(3, 1, 1, 1)


def brain_at(points: np.ndarray) -> np.ndarray:
    """The tissue at each of ``points`` (3, ...), RAS mm: values 5 to 11, 0 outside; uint8. About 1,300 mL."""
    x, y, z = points
    radius = np.sqrt((x / 66) ** 2 + (y / 84) ** 2 + ((z - 5) / np.where(z > 5, 62, 45)) ** 2)
    cleft = (np.abs(x) < 2) & (z > 25)
    folds = 0.09 * np.sin(x / 7) * np.sin(y / 8 + 1) * np.sin(z / 7)
    labels = np.zeros(radius.shape, np.uint8)
    back = ((np.abs(x) / 45) ** 2 + ((y + 50) / 30) ** 2 + ((z + 40) / 22) ** 2) < 1
    stem = (np.hypot(x / 13, (y + 22) / 14) < 1) & (z < -10) & (z > -68)
    labels[(radius < 1) | back] = CSF
    labels[(radius < 0.96 + folds) & ~cleft] = CORTEX
    labels[(radius < 0.84 + folds) & ~cleft] = WHITE
    labels[back & (((np.abs(x) / 42) ** 2 + ((y + 50) / 27) ** 2 + ((z + 40) / 20) ** 2) < 1)] = CEREBELLUM
    labels[stem] = BRAINSTEM
    side = np.abs(x)
    labels[((side - 14) / 9) ** 2 + ((y - 2) / 12) ** 2 + ((z - 4) / 9) ** 2 < 1] = DEEP_GRAY
    labels[((side - 12) / 8) ** 2 + (y / 32) ** 2 + ((z - 18) / 9) ** 2 < 1] = VENTRICLES
    return labels


def brain(shape: tuple[int, int, int] = SHAPE, affine: np.ndarray = AFFINE, pull: np.ndarray | None = None) -> Volume:
    """The brain on a grid; ``pull`` (4x4) takes positions of the grid to those of ``brain_at``."""
    points = points_of(shape, affine)
    if pull is not None:
        points = np.tensordot(pull[:3, :3], points, 1) + pull[:3, 3].reshape(3, 1, 1, 1)
    return Volume(brain_at(points), affine)


def ball(
    center: tuple[float, float, float], radius: float, shape: tuple[int, ...] = SHAPE, affine: np.ndarray = AFFINE
) -> np.ndarray:
    """A ball around ``center`` (RAS mm), bool."""
    return ((points_of(shape, affine) - np.reshape(center, (3, 1, 1, 1))) ** 2).sum(axis=0) < radius**2


def turn(degrees: tuple[float, float, float], scale: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    """Turns about R, A and S after a change of size along them, 4x4."""
    matrix = np.diag([*scale, 1.0])
    for axis, angle in enumerate(np.radians(degrees)):
        i, j = [a for a in range(3) if a != axis]
        step = np.eye(4)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        matrix = step @ matrix
    return matrix
