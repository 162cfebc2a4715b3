"""Rigid registration of images of a head, of any two contrasts, by mutual information. The same result every time.

Mattes et al., PET-CT image registration in the chest using free-form deformations, IEEE TMI 2003. Nothing is resampled
here: the result is a rigid map in millimeters by which a volume's affine is changed, so that the volume is interpolated
only once, when it goes to the model's grid.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError
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
# Spacing (mm) at which the images are compared, level by level, and the share of the voxels that is looked at.
COARSE, MIDDLE, FINE = (8.0, 1.0), (4.0, 0.5), (2.0, 0.15)
# First steps (mm) on the two last levels; the last is gone through once more, to end at the very top.
STEPS_MM = (2.0, 1.0, 0.25)
# Besides the positions in the files and the heads' middles laid on each other, nodding by so many degrees is tried.
NODS = (0.0, -20.0, 20.0)
# Within this of each other (mm, anywhere in the head) two positions count as the same: interpolating would only blur.
SAME_MM = 1.0
# Moves beyond these are said to be unusual for images of one visit; turns beyond the last are not believed.
UNUSUAL_MM, UNUSUAL_DEGREES, BELIEVED_DEGREES = 20.0, 12.0, 50.0
# At the right place two images tell more of each other than when one is displaced by so much, by at least this share.
PROBE_MM, LEAST_MARGIN, LEAST_INFORMATION = 20.0, 0.05, 0.02
# Where registered, the moved image holds at least this share of the head.
LEAST_COVERED = 0.5


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
    head = brain_from_image(small.data, small.spacing)
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
        # In a physical space that is RAS mm, lightly smoothed.
        self._fixed, self._moving = (
            sitk.SmoothingRecursiveGaussian(_placed(volume.data.astype(np.float32), volume.affine), mm / 2)
            for volume in (small, coarse(moving, mm))
        )
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


@dataclass(frozen=True)
class Rigid:
    """A rigid map: ``matrix`` (4x4) takes RAS mm of the moving image to RAS mm of the fixed one.

    ``shift_mm``: how far the middle of the head goes; ``rotation_degrees``: the angle by which it is turned.
    ``before`` and ``after``: mutual information (nats) of the two images at the positions in the files and now.
    """

    matrix: np.ndarray
    shift_mm: float = 0.0
    rotation_degrees: float = 0.0
    before: float = 0.0
    after: float = 0.0

    @property
    def moved(self) -> bool:
        """False where the images were aligned already."""
        return bool((self.matrix != np.eye(4)).any())

    @property
    def unusual(self) -> bool:
        """Whether the move is larger than patients make between two images of one visit."""
        return self.shift_mm > UNUSUAL_MM or self.rotation_degrees > UNUSUAL_DEGREES

    def applied(self, affine: np.ndarray) -> np.ndarray:
        """The affine (voxel -> RAS mm) of a volume in the moving image's space, moved."""
        return np.asarray(self.matrix @ affine) if self.moved else affine


def register(fixed: Volume, moving: Volume, name: str, onto: str) -> Rigid:
    """Where ``moving`` lies on ``fixed``; both in RAS+ mm. The identity where they agree within ``SAME_MM`` already.

    Several starts are followed on a coarse level, the best goes on to finer ones. ``name`` and ``onto`` are what errors
    call the two images. Raises InputError where no position stands out, where the heads would hardly overlap, and for
    a turn that no patient makes between two scans: rather no result than a wrong one.
    """
    points = head_points(fixed)
    first, middle = (Level(fixed, moving, points, *level) for level in (COARSE, MIDDLE))
    tried = [
        first.improved(start, COARSE[0]) for start in _starts(points.mean(axis=0), head_points(moving).mean(axis=0))
    ]
    best = middle.improved(max(tried, key=first.information), STEPS_MM[0])
    # Voxels of 4 mm tell nothing more to a finer level.
    fine = middle if min(fixed.spacing) >= MIDDLE[0] else Level(fixed, moving, points, *FINE)
    for step_mm in STEPS_MM[1:]:
        best = fine.improved(best, step_mm)
    _require_found(middle, best, points.mean(axis=0), name, onto)
    return _result(middle, best, points)


def _starts(fixed_center: np.ndarray, moving_center: np.ndarray) -> list[np.ndarray]:
    """Maps from the fixed to the moving image to begin with: the first leaves all as it is."""
    starts = []
    for offset in (np.zeros(3), moving_center - fixed_center):
        for degrees in NODS:
            start = turned(0, degrees, fixed_center)
            start[:3, 3] += offset
            starts.append(start)
    return starts


def turned(axis: int, degrees: float, center: np.ndarray) -> np.ndarray:
    """A turn about the patient axis 0 (right), 1 (front) or 2 (up) through ``center`` (RAS mm), 4x4."""
    angle = np.radians(degrees)
    matrix = np.eye(4)
    a, b = ((1, 2), (2, 0), (0, 1))[axis]
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = center - matrix[:3, :3] @ center
    return matrix


def _require_found(level: Level, found: np.ndarray, center: np.ndarray, name: str, onto: str) -> None:
    """Raises InputError unless ``found`` is a place that stands out and that a patient's head can be at."""
    remedy = "Check that both show the same head in the same orientation, register them by hand, or leave the case out."
    covered = level.covered(found)
    if covered < LEAST_COVERED:
        raise InputError(f"{name} would hold only {covered:.0%} of the head of {onto} after registration. {remedy}")
    degrees = _angle(found)
    if degrees > BELIEVED_DEGREES:
        raise InputError(f"{name} would have to be turned by {degrees:.0f} degrees to lie on {onto}. {remedy}")
    # Displaced along and about every axis, both ways, all about equally far.
    probes = [turned(axis, sign * PROBE_MM, center) for axis in range(3) for sign in (-1, 1)]
    for axis, sign in itertools.product(range(3), (-1, 1)):
        probes.append(np.eye(4))
        probes[-1][axis, 3] = sign * PROBE_MM
    here = level.information(found)
    elsewhere = max(level.information(found @ probe) for probe in probes)
    if here < LEAST_INFORMATION or here - elsewhere < LEAST_MARGIN * here:
        raise InputError(f"{name} could not be registered to {onto}: no position fits better than others. {remedy}")


def _result(level: Level, found: np.ndarray, points: np.ndarray) -> Rigid:
    """``found`` (fixed to moving) the other way round, or the identity where it hardly differs from that."""
    before, after = level.information(np.eye(4)), level.information(found)
    moves = np.linalg.norm(points @ (found[:3, :3] - np.eye(3)).T + found[:3, 3], axis=1)
    if moves.max() <= SAME_MM or after <= before:
        return Rigid(np.eye(4), before=before, after=before)
    center = points.mean(axis=0)
    shift = float(np.linalg.norm(found[:3, :3] @ center + found[:3, 3] - center))
    return Rigid(np.linalg.inv(found), shift, _angle(found), before, after)


def _angle(matrix: np.ndarray) -> float:
    """The angle of a rotation, degrees."""
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))
