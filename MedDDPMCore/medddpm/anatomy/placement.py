"""Where a brain lies around a tumor for which no brain is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume, extended, spacing_of, voxel_ml
from ..labels.morphology import dilate
from .brain_maps import BRAINSTEM, CEREBELLAR_CORTEX, VENTRICLES, WHITE, load_bank_map
from .lattice import Lattice, lattice_around

# The grid of published BraTS data (1 mm) and the world position of its middle, in whose frame the bank is.
BRATS_SHAPE, BRATS_MIDDLE = (240, 240, 155), np.array([-119.5, 119.5, 77.0])
HEAD_MM = 140.0  # a field of view at least so large is that of a head, whose brain is in the middle
INSIDE = 0.9  # of the tumor in a brain that needs not be moved
LARGEST_OUTSIDE = 0.3  # of the tumor, wherever the brain is laid
UNLIKELY = {CEREBELLAR_CORTEX: 0.5, BRAINSTEM: 0.5, VENTRICLES: 0.2}  # places for a glioma, a place outside being 1
PER_MM = 1e-3  # what a millimeter of moving counts in shares of the tumor
MARGIN_MM = 2.0  # of brain around a tumor that sticks out
AROUND_MM = 8.0  # of air around the brain where a grid is extended for it
POINTS = 400  # of the tumor that are looked at


@dataclass(frozen=True)
class Placed:
    """A brain on the tumor's grid, ``brain`` (X, Y, Z) bool; point p is p - ``shift`` in the map, RAS mm."""

    brain: np.ndarray
    shift: np.ndarray
    sentences: tuple[str, ...]


def place_brain(tissues: Volume, tumor: np.ndarray, affine: np.ndarray, rng: np.random.Generator) -> Placed:
    """Lay the brain map ``tissues`` around ``tumor`` ((X, Y, Z) bool, not empty) on the grid of ``affine``.

    On the grid of the BraTS data that is where brains are on it; where the tumor is inside of the map's brain already
    it is that place; else the middle of the field of view, if that is of a head, else anywhere that ``rng`` chooses in
    the white matter. Then it is moved as little as it takes to hold the tumor, in the last two cases away from
    cerebellum, brainstem and ventricles. Raises InputError where no place holds it.
    """
    spots = np.argwhere(tumor)
    spots = spots[:: max(1, len(spots) // POINTS)] @ affine[:3, :3].T + affine[:3, 3]
    lattice = lattice_around(tissues.data > 0, tissues.affine)
    outside = 1 - lattice.from_grid(tissues.data > 0, tissues.affine)
    start, sentence = _known_place(tumor.shape, affine, lattice, outside, spots)
    if start is None:
        unlikely = [w * lattice.from_grid(tissues.data == value, tissues.affine) for value, w in UNLIKELY.items()]
        outside = outside + sum(unlikely)
        start = _guess(tumor.shape, affine, tissues, lattice, spots, rng)
        sentence = (
            "The mask has no brain. One was placed around the tumor; the position of the tumor in the brain is a guess."
        )
    shift = _moved(lattice, outside, spots, start)
    if _cost(lattice, outside, spots, shift[None])[0] > LARGEST_OUTSIDE:
        size = np.ptp(spots, axis=0).max()
        raise InputError(
            f"The tumor ({np.count_nonzero(tumor) * voxel_ml(affine):,.0f} mL, {size:.0f} mm long) does not fit into a "
            "brain. Check its labels and the spacing of the mask."
        )
    brain = _laid(tissues, shift, Volume(tumor, affine))
    lost = 1 - np.count_nonzero(brain) * voxel_ml(affine) / (np.count_nonzero(tissues.data) * voxel_ml(tissues.affine))
    cut = (f"{lost:.0%} of the brain lies outside of the mask's grid.",) if lost > 0.02 else ()
    return Placed(brain, shift, (sentence, *cut))


def _laid(tissues: Volume, shift: np.ndarray, tumor: Volume) -> np.ndarray:
    """The moved map's brain on the grid of the tumor, with a margin of it around the tumor, bool."""
    there = tissues.affine.copy()
    there[:3, 3] += shift
    to_map = index_map(tumor.affine, there)
    brain = resample((tissues.data > 0).view(np.uint8), to_map, tumor.shape, 0.0) > 0.5
    return np.asarray(brain | dilate(tumor.data, MARGIN_MM, tumor.spacing))


def brain_around(tumor: np.ndarray, affine: np.ndarray) -> tuple[Volume, str]:
    """A brain of the bank around ``tumor`` ((X, Y, Z) bool, not empty), and a clause that says how.

    ``affine``: voxel index -> RAS mm. The brain (bool) is on the tumor's grid, extended where it is too small for it.
    Always the same brain; raises InputError where none holds the tumor.
    """
    tissues, grid = load_bank_map(0), Volume(tumor, affine)
    placed = place_brain(tissues, tumor, affine, np.random.default_rng(0))
    inside = np.argwhere(tissues.data > 0) @ tissues.affine[:3, :3].T + tissues.affine[:3, 3] + placed.shift
    if extended(grid, inside).shape != grid.shape:
        grid = extended(grid, np.concatenate([inside - AROUND_MM, inside + AROUND_MM]))
    return Volume(_laid(tissues, placed.shift, grid), grid.affine), placed.sentences[0].removesuffix(".")


def _known_place(
    shape: tuple[int, ...], affine: np.ndarray, lattice: Lattice, outside: np.ndarray, spots: np.ndarray
) -> tuple[np.ndarray | None, str]:
    """The shift (RAS mm) that lays the map where the grid says, and a sentence; None where it says nothing."""
    if tuple(shape) == BRATS_SHAPE and np.allclose(spacing_of(affine), 1, atol=1e-3):
        sentence = "The mask has no brain. One was placed where brains are on the BraTS grid."
        return _middle(shape, affine) - BRATS_MIDDLE, sentence
    if _cost(lattice, outside, spots, np.zeros((1, 3)))[0] <= 1 - INSIDE:
        return np.zeros(3), "The mask has no brain. One was placed at the position of its map in space."
    return None, ""


def _middle(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]


def _guess(
    shape: tuple[int, ...],
    affine: np.ndarray,
    tissues: Volume,
    lattice: Lattice,
    spots: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    view = np.abs(affine[:3, :3]) @ np.array(shape)
    if view.min() >= HEAD_MM:
        return _middle(shape, affine) - _middle(lattice.shape, lattice.affine)
    white = np.argwhere(lattice.from_grid(tissues.data == WHITE, tissues.affine) > 0.9)
    chosen = white[rng.integers(len(white))] if len(white) else np.array(lattice.shape) // 2
    return spots.mean(axis=0) - (lattice.affine[:3, :3] @ chosen + lattice.origin)


def _moved(lattice: Lattice, outside: np.ndarray, spots: np.ndarray, start: np.ndarray) -> np.ndarray:
    """``start`` moved to where least of the tumor is in the wrong place; nearer ones count more."""
    best = start
    for step, reach in ((12.0, 6), (4.0, 2), (2.0, 1), (1.0, 1)):
        offsets = np.indices((2 * reach + 1,) * 3).reshape(3, -1).T - reach
        shifts = best + step * offsets
        costs = _cost(lattice, outside, spots, shifts) + PER_MM * np.linalg.norm(shifts - start, axis=1)
        best = shifts[costs.argmin()]
    return best


def _cost(lattice: Lattice, outside: np.ndarray, spots: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Share of the tumor's ``spots`` (N, 3) that is in the wrong place, for each shift (M, 3) of the brain: (M,)."""
    place = (spots[None] - shifts[:, None] - lattice.origin) / lattice.step
    index = np.clip(np.rint(place), 0, np.array(lattice.shape) - 1).astype(np.int32)
    return outside[index[..., 0], index[..., 1], index[..., 2]].mean(axis=1)
