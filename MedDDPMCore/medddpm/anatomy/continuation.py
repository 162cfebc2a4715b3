"""A region without tissue in a brain that has the rest: filled so that it continues what is around it."""

from __future__ import annotations

import numpy as np

from ..geometry.resample import index_map
from ..geometry.volume import Volume
from .brain_maps import BRAIN, TISSUES
from .lattice import lattice_around, moved
from .prior import BRIGHTNESS, followed
from .registration import Outline, Plane
from .warping import warp_fractions


def continued(data: np.ndarray, other: np.ndarray, target: Outline, mirror: bool) -> tuple[np.ndarray, float]:
    """Shares of ``TISSUES`` on the grid of ``target``, (8, X, Y, Z), and how much of the gap is from the other side.

    ``data`` (X, Y, Z): values of the scheme glioma-anatomy, most of the brain with tissues. ``other``: shares like the
    result, of a map that was fitted to the outline. With ``mirror`` the tissues are those of this brain beyond its
    midsagittal plane, of the map where that has none; without, all of the map. They are deformed so that around the
    gap they lie on the tissues that are there.
    """
    labels = np.where(target.brain, other.argmax(axis=0) + BRAIN, 0).astype(np.uint8)
    gap = target.brain & (data <= BRAIN)
    share = 0.0
    if mirror:
        across = _reflected(data, target.affine, target.plane)
        own = target.brain & (across > BRAIN)
        labels[own] = across[own]
        share = float(own[gap].mean()) if gap.any() else 0.0
    tissues = Volume(labels, target.affine)
    points = _along(data, tissues, target)
    return warp_fractions(tissues, points, target), share


def _reflected(data: np.ndarray, affine: np.ndarray, plane: Plane) -> np.ndarray:
    """``data`` with each voxel taken from the nearest to its mirror image; 0 where that is beyond the grid."""
    mirror = np.eye(4)
    mirror[:3, :3] -= 2 * np.outer(plane.normal, plane.normal)
    mirror[:3, 3] = 2 * plane.offset * plane.normal
    place = np.rint(moved(index_map(mirror @ affine, affine), np.indices(data.shape, dtype=np.float32))).astype(int)
    inside = np.all([(p >= 0) & (p < n) for p, n in zip(place, data.shape, strict=True)], axis=0)
    out = np.zeros_like(data)
    out[inside] = data[tuple(place[:, inside])]
    return out


def _along(data: np.ndarray, tissues: Volume, target: Outline) -> np.ndarray:
    """Where in ``tissues`` each point of the target's lattice lies when they follow those of ``data``, RAS mm."""
    around = lattice_around(tissues.data > 0, tissues.affine)
    shares = np.stack([around.from_grid(tissues.data == value, tissues.affine) for value in TISSUES])
    lattice, given = target.lattice, data > BRAIN
    brightness = np.where(given, BRIGHTNESS[np.maximum(data, BRAIN) - BRAIN], 0)
    found, seen = (lattice.from_grid(part, target.affine) for part in (brightness, given | (data == 0)))
    own = around.sample(shares, lattice.points())
    return followed(lattice, lattice.points(), own, found, seen)
