"""Where each tissue is to be expected in a patient's brain: label maps of healthy brains laid on it.

The maps of the bank share a frame. Their average outline is fitted to the patient's brain once; then each map is
deformed on its own, so that its fluid, gray and white matter come to lie on those found in the patient's images
(demons with symmetric forces: Vercauteren et al. 2009, doi:10.1016/j.neuroimage.2008.10.040). The share of the maps
that have a tissue at a place, blurred, is its prior probability there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume
from .brain_maps import TISSUES, bank_names, load_bank_map
from .lattice import STEP_MM, Lattice, lattice_around, smooth
from .registration import outline_of, register

MAPS = 6
# How bright each tissue is in the image by which maps are registered, in the order of TISSUES: fluid 0, white matter 2.
BRIGHTNESS = np.array([0.7, 0.0, 0.0, 1.0, 1.4, 2.0, 1.0, 1.8], np.float32)
# Levels of the registration: lattice step in multiples of STEP_MM, iterations, smoothing of the displacement in points.
LEVELS = ((3, 30, 1.2), (2, 30, 1.2), (1, 20, 1.5))


def some_maps() -> tuple[int, ...]:
    """Indices of ``MAPS`` maps, spread over the bank."""
    count = len(bank_names())
    return tuple(np.unique(np.linspace(0, count - 1, min(MAPS, count)).round().astype(int)).tolist())


@lru_cache(maxsize=2)
def _bank_on_lattice(maps: tuple[int, ...]) -> tuple[Lattice, np.ndarray]:
    """Maps of the bank as shares of ``TISSUES``, (N, 8, X, Y, Z) float32, on one lattice of their frame."""
    volumes = [load_bank_map(index) for index in maps]
    ends = [lattice_around(volume.data > 0, volume.affine) for volume in volumes]
    low = np.min([end.origin for end in ends], axis=0)
    high = np.max([end.origin + STEP_MM * np.array(end.shape) for end in ends], axis=0)
    x, y, z = np.ceil((high - low) / STEP_MM).astype(int).tolist()
    lattice = Lattice(low, (x, y, z))
    shares = [[lattice.from_grid(v.data == value, v.affine) for value in TISSUES] for v in volumes]
    return lattice, np.array(shares, np.float32)


@dataclass(frozen=True)
class Prior:
    """Label maps laid on a brain. ``shares`` (N, 8, X, Y, Z): of each of ``TISSUES`` at the points of ``lattice``, one
    entry a map. ``base`` (3, X, Y, Z): where these points lie in the bank's frame, RAS mm, by the outlines alone.
    ``dice`` is the overlap of the outlines.
    """

    lattice: Lattice
    shares: np.ndarray
    base: np.ndarray
    maps: tuple[int, ...]
    dice: float

    def probabilities(self, sigma_mm: float) -> np.ndarray:
        """Of each of ``TISSUES`` at the lattice's points, (8, X, Y, Z) float32; they sum to 1 in the maps' brains."""
        return np.maximum(smooth(self.shares.mean(axis=0), sigma_mm), 0)

    def ventricles(self) -> np.ndarray:
        """Where any of the maps has ventricles: their largest share, slightly blurred, (1, X, Y, Z)."""
        return smooth(self.shares[:, 2].max(axis=0)[None], STEP_MM / 3)

    def on_grid(self, field: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """``field`` (C, X, Y, Z) of the lattice on a grid, linear: (C, *shape) float32."""
        to_lattice = index_map(affine, self.lattice.affine)
        return np.stack([resample(part, to_lattice, shape, 0.0) for part in field])

    def following(self, brightness: np.ndarray, known: np.ndarray, affine: np.ndarray) -> Prior:
        """The prior with each map deformed so that its tissues lie on the patient's.

        ``brightness`` (X, Y, Z): what ``BRIGHTNESS`` is for the tissues found, on the grid of ``affine``, 0 outside of
        the brain. Only ``known`` voxels (bool) pull; in a tumor the maps follow their surroundings.
        """
        found = self.lattice.from_grid(brightness, affine)
        seen = np.clip(self.lattice.from_grid(known, affine), 0, 1)
        points = [followed(self.lattice, self.base, own, found, seen) for own in self.shares]
        return replace(self, shares=np.stack([_sampled(self.maps, index, p) for index, p in enumerate(points)]))


def followed(lattice: Lattice, points: np.ndarray, own: np.ndarray, found: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """``points`` of a map (3, X, Y, Z), RAS mm, moved so that its tissues lie on those found in a patient.

    All on ``lattice``: ``own`` (8, X, Y, Z), shares of ``TISSUES`` of the map there; ``found`` (X, Y, Z), what
    ``BRIGHTNESS`` is for the patient's, 0 outside of the brain; ``seen``, 0 to 1, how far that is known. What is not
    known does not pull: there the map follows its surroundings.
    """
    moving = np.tensordot(BRIGHTNESS, own, 1)
    return lattice.sample(points, lattice.points() + _demons(found + (1 - seen) * moving, moving))


def lay_bank(brain: np.ndarray, affine: np.ndarray, maps: Sequence[int] | None = None) -> Prior:
    """The bank's ``maps`` (indices; ``some_maps`` by default) on ``brain`` ((X, Y, Z) bool), by its outline alone."""
    chosen = some_maps() if maps is None else tuple(maps)
    lattice, shares = _bank_on_lattice(chosen)
    average = shares[:, 1:].sum(axis=1).mean(axis=0) > 0.5
    fit = register(Volume(average, lattice.affine), outline_of(brain, affine))
    placed = np.stack([_sampled(chosen, index, fit.points) for index in range(len(chosen))])
    return Prior(fit.target.lattice, placed, fit.points, chosen, fit.dice)


def _sampled(maps: tuple[int, ...], index: int, points: np.ndarray) -> np.ndarray:
    """Shares of one map at ``points`` (3, ...) in RAS mm of the bank's frame, (8, ...); none outside of its brain."""
    lattice, shares = _bank_on_lattice(maps)
    return lattice.sample(shares[index], points)


def _demons(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """By how many mm, (3, X, Y, Z), points of ``fixed`` find their like in ``moving``; coarse to fine."""
    images = [sitk.GetImageFromArray(data.astype(np.float32)) for data in (fixed, moving)]
    field = None
    for step, iterations, stiffness in LEVELS:
        coarse = [_shrunken(image, step) for image in images]
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(stiffness)
        demons.SmoothUpdateFieldOn()
        demons.SetUpdateFieldStandardDeviations(1.0)
        field = demons.Execute(*coarse) if field is None else demons.Execute(*coarse, sitk.Resample(field, coarse[0]))
    # SimpleITK counts axes and components from the array's last.
    assert field is not None
    return np.moveaxis(sitk.GetArrayFromImage(field)[..., ::-1], -1, 0) * np.float32(STEP_MM)


def _shrunken(image: sitk.Image, step: int) -> sitk.Image:
    if step == 1:
        return image
    size = [-(-n // step) for n in image.GetSize()]
    smoothed = sitk.SmoothingRecursiveGaussian(image, 0.5 * step)
    return sitk.Resample(smoothed, size, sitk.Transform(), sitk.sitkLinear, [0.0] * 3, [float(step)] * 3)
