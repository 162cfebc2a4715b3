"""Random variation of a brain map: mirrored, and slightly deformed within the bounds of real brains."""

from __future__ import annotations

import numpy as np

from ..geometry.volume import Volume
from .lattice import Lattice, jacobian, smooth
from .registration import Outline

NODE_MM, NODES = 20.0, 12  # of the random displacements: distance and number along each axis
AMPLITUDE_MM = 2.0  # their standard deviation after smoothing
QUIET_MM = 15.0  # below the surface, and beside the midsagittal plane, within which they fade out
MIN_JACOBIAN = 0.4


def mirrored(tissues: Volume) -> Volume:
    """``tissues`` with left and right exchanged about the middle of the brain's extent, by the affine alone."""
    inside = (
        np.argwhere(tissues.data.any(axis=(1, 2))),
        np.argwhere(tissues.data.any(axis=(0, 2))),
        np.argwhere(tissues.data.any(axis=(0, 1))),
    )
    middle = tissues.affine[:3, :3] @ [float(i.min() + i.max()) / 2 for i in inside] + tissues.affine[:3, 3]
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 2 * middle[0]
    return Volume(tissues.data, flip @ tissues.affine)


def deformed(target: Outline, rng: np.random.Generator) -> np.ndarray:
    """Points of the target's lattice after a small random displacement, (3, X, Y, Z), RAS mm.

    Smooth, without folding, fading out toward the surface; nothing crosses the midsagittal plane. It depends on the
    brain's middle and on ``rng``, not on the lattice.
    """
    grid = target.lattice.points()
    middle = grid[:, target.depth > 0].mean(axis=1)
    nodes = Lattice(middle - NODE_MM * (NODES - 1) / 2, (NODES, NODES, NODES), NODE_MM)
    noise = smooth(nodes.sample(rng.standard_normal((3, NODES, NODES, NODES)).astype(np.float32), grid), NODE_MM / 2)
    noise *= AMPLITUDE_MM / noise[:, target.depth > 0].std()
    noise *= np.clip(target.depth / QUIET_MM, 0, 1)
    normal = target.plane.normal.astype(np.float32)
    across = np.einsum("i,i...->...", normal, noise) * np.clip(1 - np.abs(target.plane.distance(grid)) / QUIET_MM, 0, 1)
    noise -= normal[:, None, None, None] * across
    while jacobian(grid + noise)[target.depth > 0].min() < MIN_JACOBIAN:
        noise *= 0.8
    return grid + noise
