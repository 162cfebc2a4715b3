"""Geometries and labels for the scene's tests."""

from __future__ import annotations

from typing import Any

import numpy as np


def placed(codes: str, spacing: tuple[float, float, float], degrees: float = 0.0) -> np.ndarray:
    """Voxel -> RAS mm: axes that run toward ``codes`` ("LPS"), turned about all body axes by ``degrees``."""
    directions = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        directions["RAS".index(code) if code in "RAS" else "LPI".index(code), axis] = 1 if code in "RAS" else -1
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_z = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ directions * spacing
    affine[:3, 3] = (-31.5, 17.25, 8.125)
    return affine


GEOMETRIES = {
    "ras": placed("RAS", (1.0, 1.0, 1.0)),
    "lps": placed("LPS", (1.0, 1.0, 1.0)),
    "anisotropic": placed("LPS", (0.7, 0.9, 3.5)),
    "permuted": placed("PIR", (1.0, 1.5, 2.0)),
    "left-handed": placed("LAS", (1.0, 1.0, 1.2)),
    "oblique": placed("LPS", (0.8, 1.1, 2.3), degrees=21.0),
}


def brain(shape: tuple[int, int, int] = (26, 30, 22)) -> np.ndarray:
    """Labels (X, Y, Z) of the brats scheme: brain 4 around edema 2, rim 3 and core 1; asymmetric on all axes."""
    points = [(p - (n - 1) / 2) / (n / 2) for p, n in zip(np.indices(shape), shape, strict=True)]
    labels = np.zeros(shape, np.uint8)
    labels[(points[0] * 1.3) ** 2 + (points[1] * 1.1) ** 2 + (points[2] * 1.25) ** 2 <= 1] = 4
    distance = np.sqrt((points[0] - 0.2) ** 2 + (points[1] + 0.15) ** 2 + (points[2] - 0.1) ** 2)
    for radius, value in ((0.45, 2), (0.32, 3), (0.18, 1)):
        labels[distance <= radius] = value
    return labels


def volumeNodeFromArray(
    scene: Any, name: str, data: np.ndarray, affine: np.ndarray, className: str = "vtkMRMLScalarVolumeNode"
) -> Any:
    """A new volume node in ``scene`` with a copy of ``data`` (X, Y, Z), ``affine`` (voxel -> RAS mm), display nodes."""
    from MedDDPMSlicerLib.Lattice import toMatrix
    from MedDDPMSlicerLib.Volumes import newImage

    image, voxels = newImage(data.shape, data.dtype)
    voxels[:] = data.transpose(2, 1, 0)
    node = scene.AddNewNodeByClass(className, name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(toMatrix(affine))
    node.CreateDefaultDisplayNodes()
    return node
