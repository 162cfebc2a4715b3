"""A head-sized mask as a segmentation, in many geometries, with few voxels."""

from __future__ import annotations

from typing import Any

import numpy as np

CENTER = (5.0, -12.0, 20.0)  # of the brain, RAS mm
TUMOR = (32.0, -30.0, 42.0)  # of the tumor, RAS mm: off the middle on all axes
HALF_AXES = (68.0, 84.0, 60.0)  # of the brain, mm
MARGIN = 12.0


def geometry(codes: str, spacing: tuple[float, float, float], degrees: float = 0.0) -> tuple[tuple, np.ndarray]:
    """Shape and affine (voxel -> RAS mm) of a grid around the head: axes toward ``codes``, turned by ``degrees``."""
    directions = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        directions["RAS".index(code) if code in "RAS" else "LPI".index(code), axis] = 1 if code in "RAS" else -1
    reach = np.abs(directions.T) @ (np.array(HALF_AXES) + MARGIN)
    shape = tuple(int(n) for n in np.ceil(2 * reach / spacing))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turned @ directions * spacing
    affine[:3, 3] = np.array(CENTER) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


GEOMETRIES = {
    "ras": geometry("RAS", (5.0, 5.0, 5.0)),
    "lps": geometry("LPS", (5.0, 5.0, 5.0)),
    "anisotropic": geometry("LPS", (3.0, 4.0, 9.0)),
    "permuted": geometry("PIR", (4.0, 5.0, 6.0)),
    "oblique": geometry("LPS", (4.0, 5.0, 7.0), degrees=14.0),
}


def positions(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS positions (mm) of all voxel centers, (3, X, Y, Z)."""
    indices = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, *shape)


def labelsAt(points: np.ndarray, tumor: tuple[float, float, float] = TUMOR) -> np.ndarray:
    """Labels of the brats scheme at RAS positions: brain 4 around edema 2, rim 3 and core 1."""
    x, y, z = ((p - c) / a for p, c, a in zip(points, CENTER, HALF_AXES, strict=True))
    labels = np.zeros(x.shape, np.uint8)
    labels[x**2 + y**2 + z**2 <= 1] = 4
    distance = np.sqrt(sum((p - c) ** 2 for p, c in zip(points, tumor, strict=True)))
    for radius, value in ((24.0, 2), (16.0, 3), (9.0, 1)):
        labels[distance <= radius] = value
    return labels


def phantom(name: str = "lps", tumor: tuple[float, float, float] = TUMOR) -> Any:
    """The phantom as a Volume on the grid called ``name``."""
    from medddpm.geometry.volume import Volume

    shape, affine = GEOMETRIES[name]
    return Volume(labelsAt(positions(shape, affine), tumor), affine)


def painted(scene: Any, name: str = "Case", grid: str = "lps", tumor: tuple[float, float, float] = TUMOR) -> Any:
    """The phantom as a segmentation node called ``name``."""
    from medddpm.labels.scheme import load_scheme
    from MedDDPMSlicerLib.SegmentMasks import applyLabels

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    applyLabels(node, load_scheme("brats"), phantom(grid, tumor))
    return node
