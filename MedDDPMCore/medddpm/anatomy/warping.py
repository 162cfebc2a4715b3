"""Brain maps carried to another brain as shares of tissue, and varied at random within the bounds of real brains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..geometry.volume import Volume, bounding_box, spacing_of
from .brain_maps import TISSUES
from .lattice import Lattice, interpolate, jacobian, moved, smooth
from .registration import Outline

CHUNK = 2**16  # voxels at a time
ENOUGH = 0.5  # share of a voxel that the map covers from which its tissues are taken; elsewhere those of the neighbors
NODE_MM, NODES = 20.0, 12  # of the random displacements: distance and number along each axis
AMPLITUDE_MM = 2.0  # their standard deviation after smoothing
QUIET_MM = 15.0  # below the surface, and beside the midsagittal plane, within which they fade out
MIN_JACOBIAN = 0.4


def warp_fractions(tissues: Volume, points: np.ndarray, target: Outline) -> np.ndarray:
    """The tissues of a brain map on the grid of ``target``: (8, X, Y, Z) float32, in the order of values 4 to 11.

    ``tissues`` is the map, values 5 to 11 and 0 outside. ``points`` (3, ...) gives for each point of the target's
    lattice its position in the map, RAS mm, as ``Fit.points`` does. Inside of the outline the shares sum to 1, outside
    they are 0; value 4 has none. Interpolation is linear, between slightly smoothed shares; where voxels are larger
    than 1 mm it is the mean over each. What the map does not reach takes the tissue of the nearest voxels it reaches.
    """
    brain, affine = target.brain, target.affine
    out = np.zeros((len(TISSUES), *brain.shape), np.float32)
    box = bounding_box(brain)
    if box is None:
        return out
    inside = brain[box]
    shares = np.zeros((len(TISSUES), *inside.shape), np.float32)
    source = _shares(tissues)
    to_map = np.linalg.inv(tissues.affine)
    parts = _parts(affine)

    def warp(index: np.ndarray) -> None:
        total = np.zeros((len(index), len(TISSUES)), np.float32)
        for part in parts:
            world = moved(affine, (index + [s.start for s in box] + part).T)
            mapped = target.lattice.sample(points, world)
            total += interpolate(source, moved(to_map, mapped) + 2)
        shares[:, *index.T] = total.T / len(parts)

    with ThreadPoolExecutor(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()) as threads:
        list(threads.map(warp, np.array_split(np.argwhere(inside), max(1, int(inside.sum()) // CHUNK))))
    total = shares.sum(axis=0)
    covered = inside & (total >= ENOUGH)
    shares *= np.where(covered, 1 / np.maximum(total, ENOUGH), 0)
    fill(shares, covered, inside)
    out[(slice(None), *box)] = shares
    return out


def _parts(affine: np.ndarray) -> np.ndarray:
    """Where in a voxel the map is looked up, (N, 3) in voxels from its center: evenly spread, about 1 mm apart."""
    counts = np.maximum(1, np.rint(np.array(spacing_of(affine)) - 0.1)).astype(int)
    steps = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    return np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)


def _shares(tissues: Volume) -> np.ndarray:
    """Each tissue as its own channel, (X + 4, Y + 4, Z + 4, 8) float32, smoothed so that labels leave no steps.

    Two voxels of 0 on each side; channel 0, of the value 4, is empty.
    """
    data = np.pad(tissues.data, 2)
    shares = np.zeros((*data.shape, len(TISSUES)), np.float32)
    for channel, value in enumerate(TISSUES[1:], 1):
        share = (data == value).astype(np.float32)
        for axis in range(3):
            run = np.swapaxes(share, 0, axis)
            run[1:-1] = (run[:-2] + 2 * run[1:-1] + run[2:]) / 4
        shares[..., channel] = share
    return shares


def fill(shares: np.ndarray, covered: np.ndarray, inside: np.ndarray) -> None:
    """Give the voxels of ``inside`` that are not ``covered`` the mean of their neighbors, from the covered outward."""
    shape = np.array(covered.shape) + 2
    done = np.pad(covered, 1).ravel()
    left = np.flatnonzero(np.pad(inside & ~covered, 1).ravel())
    padded = np.pad(shares, ((0, 0), (1, 1), (1, 1), (1, 1))).reshape(len(shares), -1)
    steps = [shape[1] * shape[2], shape[2], 1]
    steps = [*steps, *(-s for s in steps)]
    while len(left):
        counts = sum(done[left + s].astype(np.float32) for s in steps)
        ready = counts > 0
        if not ready.any():
            break
        now = left[ready]
        padded[:, now] = sum(padded[:, now + s] * done[now + s] for s in steps) / counts[ready]
        done[now] = True
        left = left[~ready]
    shares[:] = padded.reshape(len(shares), *shape)[:, 1:-1, 1:-1, 1:-1]


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
