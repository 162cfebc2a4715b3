"""A brain map fitted to the outline of another brain.

First an affine map, then smooth steps of ever smaller width, each composed with the ones before (as in diffeomorphic
demons: Vercauteren et al. 2009, doi:10.1016/j.neuroimage.2008.10.040; from wide to narrow kernels as in Risser et al.
2011, doi:10.1109/TMI.2011.2146787). Only the outlines and the midsagittal planes pull: what is inside follows by the
widest step that explains the outline, so ventricles keep their shape. All positions are RAS mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.volume import Volume
from .lattice import STEP_MM, Lattice, distance, jacobian, lattice_around, moved, smooth

BAND_MM = 4.0  # from the surface within which voxels pull
AFFINE_STEPS = 24
RIGID_STEPS = 12  # of these: turn, shift and scale only
# Widths of the smooth steps in mm.
WIDTHS_MM = (40.0, 25.0, 16.0, 16.0, 10.0, 10.0, 7.0, 7.0, 5.0, 5.0, 5.0)
STIFFNESS = 0.08  # of the largest pull; where nothing pulls more than this, nothing moves
MAX_STRAIN = 0.35  # of one step
MIN_JACOBIAN = 0.2  # of the whole map: the relative volume below which nothing is squeezed
TRIES = 6  # at a step, each more cautious
PLANE_WEIGHT = 0.5  # of a point of the midsagittal plane, one of the surface being 1


@dataclass(frozen=True)
class Plane:
    """All points p with ``normal`` @ p = ``offset`` (RAS mm); the unit normal points to the patient's right."""

    normal: np.ndarray
    offset: float

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance of ``points`` (3, ...) in mm, positive on the right: (...)."""
        return np.einsum("i,i...->...", self.normal.astype(np.float32), points) - np.float32(self.offset)


@dataclass(frozen=True)
class Outline:
    """The outline of a brain, ``brain`` (X, Y, Z) bool with the ``affine`` of its grid, also on a lattice.

    ``depth`` is its signed distance (mm, positive inside) and ``plane`` the midsagittal plane.
    """

    brain: np.ndarray
    affine: np.ndarray
    lattice: Lattice
    depth: np.ndarray
    known: np.ndarray  # 1 where the image shows whether there is brain, 0 where it ends
    plane: Plane


@dataclass(frozen=True)
class Fit:
    """A map from the target brain to a brain map: lattice point -> ``points`` (3, X, Y, Z), RAS mm of the brain map.

    ``target`` is the outline that it was made for; ``dice`` is the overlap of the two outlines.
    """

    target: Outline
    points: np.ndarray
    dice: float


def outline_of(brain: np.ndarray, affine: np.ndarray) -> Outline:
    """The outline of ``brain`` ((X, Y, Z) bool, not empty) with the affine of its grid (voxel index -> RAS mm).

    Where the brain meets the border of the array it is taken as cut there, not as ending.
    """
    lattice = lattice_around(brain, affine)
    pad = int(np.ceil(STEP_MM * 4 / np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min()))
    wider = affine.copy()
    wider[:3, 3] -= affine[:3, :3].sum(axis=1) * pad
    share = lattice.from_grid(np.pad(brain, pad, mode="edge").view(np.uint8), wider)
    known = lattice.from_grid(np.ones(brain.shape, np.uint8), affine) if _is_cut(brain) else np.ones_like(share)
    depth = distance(share)
    return Outline(brain, affine, lattice, depth, known, _symmetry_plane(lattice, depth, known))


def _is_cut(brain: np.ndarray) -> bool:
    return any(np.moveaxis(brain, axis, 0)[end].any() for axis in range(3) for end in (0, -1))


def register(tissues: Volume, target: Outline) -> Fit:
    """Fit the brain map ``tissues`` (0 outside of the brain, which is whole) to the outline ``target``.

    Poses may differ by some 30 degrees, sizes by a third; the result never folds, however badly outlines agree
    (``Fit.dice``).
    """
    around = tissues.affine.copy()  # with a voxel of nothing, so that it does not count as cut where the array ends
    around[:3, 3] -= around[:3, :3].sum(axis=1)
    source = outline_of(np.pad(tissues.data > 0, 1), around)
    points = _deformed(source, target, _affine(source, target))
    return Fit(target, points, _dice(source, target, points))


def _dice(source: Outline, target: Outline, points: np.ndarray) -> float:
    """Overlap of the outlines on every third voxel of the target's grid."""
    thinned = target.brain[::3, ::3, ::3]
    index = 3 * np.indices(thinned.shape, dtype=np.float32)
    place = target.lattice.sample(points, moved(target.affine, index))
    covered = source.lattice.sample(source.depth[None], place)[0] > 0
    return float(2 * np.count_nonzero(covered & thinned) / (np.count_nonzero(covered) + np.count_nonzero(thinned)))


# --- affine ---------------------------------------------------------------------------------------------------------


def _affine(source: Outline, target: Outline) -> np.ndarray:
    """The 3x4 map from ``target`` to ``source`` by Gauss-Newton steps on depth and midsagittal planes."""
    grid = target.lattice.points()
    middle = grid[:, (np.abs(target.plane.distance(grid)) < STEP_MM / 2) & (target.depth > 0)]
    normals = np.repeat(PLANE_WEIGHT * source.plane.normal[:, None], middle.shape[1], axis=1)
    pulls = _Pulls(source.lattice, source.depth, target.lattice, target.depth, target.known)
    matrix = _start(source, target)
    for step in range(AFFINE_STEPS):
        residual, slopes, place = pulls.at(matrix)
        centered = moved(matrix, middle)
        residual = np.concatenate([residual, PLANE_WEIGHT * source.plane.distance(centered)])
        slopes, place = np.concatenate([slopes, normals], axis=1), np.concatenate([place, centered], axis=1)
        matrix = _stepped(matrix, residual, slopes, place, rigid=step < RIGID_STEPS)
    return matrix


class _Pulls:
    """How far the surface of one outline, moved by a matrix, is from that of another."""

    def __init__(self, lattice: Lattice, depth: np.ndarray, of: Lattice, surface: np.ndarray, known: np.ndarray):
        near = (np.abs(surface) < BAND_MM) & (known > 0.99)
        self.points, self.level = of.points()[:, near], surface[near]
        self.lattice, self.field = lattice, np.stack([depth, *np.gradient(depth, STEP_MM)])

    def at(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Differences of depth in mm (N,), their slopes (3, N), and where the points are moved to (3, N), RAS mm."""
        place = moved(matrix, self.points)
        value, *slope = self.lattice.sample(self.field, place)
        wrong = value - self.level
        trust = 1 / np.maximum(1, np.abs(wrong) / 5)  # Huber: what one brain lacks must not turn the other
        return wrong * trust, np.stack(slope) * trust, place


def _start(source: Outline, target: Outline) -> np.ndarray:
    """Middle on middle; sizes agree unless the target is cut."""
    middles = [o.lattice.points()[:, o.depth > 0].mean(axis=1) for o in (source, target)]
    sizes = [np.count_nonzero(o.depth > 0) for o in (source, target)]
    scale = (sizes[0] / sizes[1]) ** (1 / 3) if target.known.all() else 1.0
    return np.hstack([scale * np.eye(3), (middles[0] - scale * middles[1])[:, None]])


def _stepped(
    matrix: np.ndarray, residual: np.ndarray, slopes: np.ndarray, place: np.ndarray, rigid: bool
) -> np.ndarray:
    """One Gauss-Newton step: ``residual`` (N,) mm and its ``slopes`` (3, N) at ``place`` (3, N)."""
    center = place.mean(axis=1, keepdims=True)
    arms = (place - center) / 50  # about 1, so that all parameters count in mm
    columns = [slopes[i] * arms[j] for i in range(3) for j in range(3)]
    basis = np.eye(9)
    if rigid:  # three turns and one scale out of the nine entries
        basis = np.zeros((4, 9))
        for number, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
            basis[number, 3 * i + j], basis[number, 3 * j + i] = 1, -1
        basis[3, [0, 4, 8]] = 1
    turns = np.einsum("kc,cn->kn", basis, np.stack(columns))
    design = np.concatenate([turns, slopes]).astype(np.float64)
    normal = np.einsum("in,jn->ij", design, design)
    normal += 1e-3 * np.trace(normal) / len(normal) * np.eye(len(normal))
    found = -np.linalg.solve(normal, np.einsum("in,n->i", design, residual))
    turn = np.eye(3) + (basis.T @ found[:-3]).reshape(3, 3) / 50
    shift = center[:, 0] - turn @ center[:, 0] + found[-3:]
    return np.hstack([turn @ matrix[:, :3], (turn @ matrix[:, 3] + shift)[:, None]])


def _symmetry_plane(lattice: Lattice, depth: np.ndarray, known: np.ndarray) -> Plane:
    """The plane in which the outline is most nearly its own mirror image: that of its rigid fit to the mirrored one."""
    center = lattice.points()[:, depth > 0].mean(axis=1)
    pulls = _Pulls(lattice, depth, lattice, depth, known)
    matrix = np.hstack([np.diag([-1.0, 1, 1]), np.array([[2 * center[0]], [0], [0]])])
    for _ in range(RIGID_STEPS):
        matrix = _stepped(matrix, *pulls.at(matrix), rigid=True)
    values, vectors = np.linalg.eig(matrix[:, :3])
    normal = np.real(vectors[:, np.argmin(np.real(values))])
    normal = normal / np.linalg.norm(normal) * np.sign(normal[0] or 1)
    mirrored = matrix[:, :3] @ center + matrix[:, 3]
    return Plane(normal, float(normal @ (center + mirrored) / 2))


# --- deformation ----------------------------------------------------------------------------------------------------


def _deformed(source: Outline, target: Outline, matrix: np.ndarray) -> np.ndarray:
    """The whole map at the target's lattice points, (3, X, Y, Z), RAS mm of the source."""
    grid = target.lattice.points()
    beyond = np.zeros_like(grid)  # of the affine map, so that the lattice's border is no border of it
    slope = np.stack(np.gradient(target.depth, STEP_MM))
    pull = np.exp(-((target.depth / BAND_MM) ** 2)) * target.known
    across = target.plane.distance(grid)
    middle = PLANE_WEIGHT * np.exp(-((across / STEP_MM) ** 2)) * np.clip(target.depth / 10, 0, 1)
    normal = target.plane.normal.astype(np.float32)[:, None, None, None] * np.ones_like(target.depth)
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    both = ((pull, slope), (middle, normal))
    products = np.stack([sum(w * d[i] * d[j] for w, d in both) for i, j in pairs])
    affine_points = moved(matrix, grid)
    scale = abs(np.linalg.det(matrix[:, :3])) ** (1 / 3)
    width, tensor = 0.0, products
    for wanted in WIDTHS_MM:
        if wanted != width:
            width, tensor = wanted, smooth(products, wanted)
        place = affine_points + beyond
        wrong = source.lattice.sample(source.depth[None], place)[0] / scale - target.depth
        wrong = np.clip(wrong, -8, 8)
        drift = source.plane.distance(place) / scale - across
        force = smooth(-(pull * wrong) * slope - (middle * drift) * normal, width)
        step = _solved(tensor, force)
        beyond = _composed(target, matrix, beyond, step)
    return affine_points + beyond


def _solved(tensor: np.ndarray, force: np.ndarray) -> np.ndarray:
    """At each point the displacement (3, X, Y, Z) that best meets all pulls around it (local least squares)."""
    a, b, c, d, e, f = tensor
    floor = STIFFNESS * float((a + d + f).max())
    a, d, f = a + floor, d + floor, f + floor
    # Inverse of a symmetric 3x3 matrix by its cofactors.
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    whole = a * aa + b * ab + c * ac
    x, y, z = force
    return np.stack([aa * x + ab * y + ac * z, ab * x + bb * y + bc * z, ac * x + bc * y + cc * z]) / whole


def _composed(target: Outline, matrix: np.ndarray, beyond: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The map after ``step``, which is taken back where it would fold the map."""
    grid = target.lattice.points()
    strain = max(float(np.abs(g).max()) for component in step for g in np.gradient(component, STEP_MM))
    step = step * np.float32(min(1.0, MAX_STRAIN / max(strain, 1e-6)))
    for _ in range(TRIES):
        place = grid + step
        new = target.lattice.sample(beyond, place) + moved(matrix, place) - moved(matrix, grid)
        folded = relative_volumes(moved(matrix, grid) + new, target.depth) < MIN_JACOBIAN
        if not folded.any():
            return new
        step = step * (1 - np.clip(20 * smooth(folded[None].astype(np.float32), 2 * STEP_MM), 0, 1))
    return beyond


def relative_volumes(points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Relative volume of each lattice cell in and near the brain, 1 being that of the brain as a whole; 1 elsewhere."""
    volumes, near = jacobian(points), depth > -STEP_MM
    return np.where(near, volumes / np.median(volumes[near]), 1)
