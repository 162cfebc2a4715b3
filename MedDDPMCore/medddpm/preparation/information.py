"""Mutual information of two images at one resolution, and the rigid move that raises it most."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume, spacing_of
from ..labels.morphology import dilate
from ..labels.outline import brain_from_image, head_from_image

BINS = 32
SEED = 7
ITERATIONS, LEAST_STEP_MM = 100, 0.005
# Around the head (mm) the images are compared, too: its edge tells most.
RIM_MM = 12.0
# Spacing (mm) at which the head is looked for.
HEAD_MM = 4.0


def coarse(volume: Volume, mm: float) -> Volume:
    """The volume at about ``mm`` spacing along its own axes, voxels averaged; a finer one than its own interpolates."""
    spacing = np.array(volume.spacing)
    shape = np.maximum(2, np.ceil(np.array(volume.shape) * spacing / mm)).astype(int)
    step = np.diag([*(mm / spacing), 1.0])
    step[:3, 3] = (mm / spacing - 1) / 2  # the outer boundaries of the two first voxels coincide
    affine = volume.affine @ step
    x, y, z = (int(n) for n in shape)
    fill = float(volume.data.min())
    return Volume(resample(volume.data, index_map(affine, volume.affine), (x, y, z), fill), affine)


def head_points(volume: Volume) -> np.ndarray:
    """RAS positions (mm), (N, 3), of some thousand points in the head; of the whole volume where none stands out."""
    small = coarse(volume, HEAD_MM)
    head = brain_from_image(small.data)
    if head is None or not head.any():
        head = head_from_image(small.data, small.spacing)
    inside = np.argwhere(head if head is not None and head.any() else np.ones(small.shape, bool))
    return inside @ small.affine[:3, :3].T + small.affine[:3, 3]


class Level:
    """Two images at ``mm`` spacing, compared where ``points`` (RAS mm) of the fixed one's head are and a rim around.

    The search looks at a ``share`` of the voxels there, drawn with one seed. Maps are 4x4, RAS mm of the fixed image to
    those of the moving one.
    """

    def __init__(self, fixed: Volume, moving: Volume, points: np.ndarray, mm: float, share: float) -> None:
        small = coarse(fixed, mm)
        self._fixed, self._moving = _image(small, mm), _image(coarse(moving, mm), mm)
        self._mask = _mask(small, points)
        self._points, self._share = points, share
        self._bounds = moving.shape, np.linalg.inv(moving.affine)

    def covered(self, found: np.ndarray) -> float:
        """Which share of the head the moving image holds."""
        shape, inverse = self._bounds
        to_voxel = inverse @ found
        voxels = self._points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        return float(((voxels >= -0.5) & (voxels <= np.array(shape) - 0.5)).all(axis=1).mean())

    def information(self, found: np.ndarray) -> float:
        """Mutual information, nats; minus infinity where the images hardly overlap."""
        method, _ = self._method(found)
        try:
            return -float(method.MetricEvaluate(self._fixed, self._moving))
        except RuntimeError:  # too few voxels of the head lie in the moving image
            return -math.inf

    def improved(self, start: np.ndarray, step_mm: float) -> np.ndarray:
        """``start`` moved to the nearest maximum, first by ``step_mm``; ``start`` itself where they do not overlap."""
        method, transform = self._method(start)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=step_mm,
            minStep=LEAST_STEP_MM,
            numberOfIterations=ITERATIONS,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-7,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        try:
            method.Execute(self._fixed, self._moving)
        except RuntimeError:  # the images do not overlap, or it moved so far that they no longer do
            return start
        # Sums in another order change last digits. Micrometers and microradians are enough, and always the same.
        transform.SetParameters(np.round(transform.GetParameters(), 6).tolist())
        return _matrix(transform)

    def _method(self, start: np.ndarray) -> tuple[sitk.ImageRegistrationMethod, sitk.Euler3DTransform]:
        """The comparison at ``start``, and the transform that running it changes."""
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)  # sums in another order would give other last digits
        method.SetMetricAsMattesMutualInformation(BINS)
        method.SetMetricFixedMask(self._mask)
        method.SetMetricSamplingStrategy(method.RANDOM if self._share < 1 else method.NONE)
        if self._share < 1:
            method.SetMetricSamplingPercentage(self._share, SEED)
        method.SetInterpolator(sitk.sitkLinear)
        transform = _transform(start, self._points.mean(axis=0))
        method.SetInitialTransform(transform, inPlace=True)
        return method, transform


def _image(volume: Volume, mm: float) -> sitk.Image:
    """The volume in a physical space that is RAS mm, lightly smoothed."""
    return sitk.SmoothingRecursiveGaussian(_placed(volume.data.astype(np.float32), volume.affine), mm / 2)


def _placed(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    spacing = np.array(spacing_of(affine))
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def _mask(volume: Volume, points: np.ndarray) -> sitk.Image:
    """Voxels of the head and of a rim around it."""
    to_voxel = np.linalg.inv(volume.affine)
    voxels = np.rint(points @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < volume.shape)).all(axis=1)]
    head = np.zeros(volume.shape, bool)
    head[tuple(voxels.T)] = True
    near = dilate(head, RIM_MM, volume.spacing)
    return _placed(near.astype(np.uint8), volume.affine)


def _transform(matrix: np.ndarray, center: np.ndarray) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(center.tolist())
    transform.SetMatrix(matrix[:3, :3].ravel().tolist(), tolerance=1e-6)
    transform.SetTranslation((matrix[:3, 3] - center + matrix[:3, :3] @ center).tolist())
    return transform


def _matrix(transform: sitk.Euler3DTransform) -> np.ndarray:
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    center = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.array(transform.GetTranslation()) + center - rotation @ center
    return matrix
