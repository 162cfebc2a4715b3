"""Where in a head or brain outline a new lesion may lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..labels.conventions import EDEMA, HEAD, outline_kind
from ..labels.scheme import LabelScheme
from .fields import bounding_box, signed_distance
from .lattice import Lattice
from .roles import tumor_roles
from .shape import ShapeSpec, Site

STEP_MM = 3.0
TRIES = 4096
LEAST_DEPTH_MM = 2.0


@dataclass(frozen=True)
class Anatomy:
    """What an outline holds besides brain (mm): the layer over the brain, and how far below the vertex gliomas lie."""

    layer: float
    below_vertex: float


# Scalp, skull and fluid are about 14 mm thick; a face and neck lie below. Adult gliomas are mostly supratentorial.
HEAD_ANATOMY = Anatomy(layer=14.0, below_vertex=105.0)
BRAIN_ANATOMY = Anatomy(layer=0.0, below_vertex=85.0)


@dataclass(frozen=True)
class Terrain:
    """A label map as lesions see it: ``free`` voxels may become core; their ``depth`` (mm) is on a coarse lattice."""

    free: np.ndarray
    affine: np.ndarray
    layer: float
    coarse: Lattice
    depth: np.ndarray
    midline: float
    lowest: float


def survey(labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme) -> Terrain:
    """Find where lesions have room: inside the outline, off the cores of tumors that are there already."""
    anatomy = HEAD_ANATOMY if outline_kind(scheme) == HEAD else BRAIN_ANATOMY
    keep = {scheme.surround, tumor_roles(scheme).get(EDEMA, scheme.surround)}
    free = np.isin(labels, list(keep))
    coarse = _coarse_lattice(labels != 0, affine)
    outline = coarse.from_grid(labels != 0, affine) >= 0.5
    room = coarse.from_grid(free, affine) >= 0.5
    middle = coarse.affine[0, 3] + STEP_MM * np.argwhere(outline)[:, 0].mean() if outline.any() else 0.0
    top = coarse.affine[2, 3] + STEP_MM * np.argwhere(outline)[:, 2].max() if outline.any() else 0.0
    depth = _depth(outline & room, coarse, outline, anatomy.layer)
    return Terrain(free, affine, anatomy.layer, coarse, depth, float(middle), float(top - anatomy.below_vertex))


def _coarse_lattice(inside: np.ndarray, affine: np.ndarray) -> Lattice:
    """A lattice of 3 mm over the labeled voxels, in steps of world space so that all grids of a head share it."""
    box = bounding_box(inside)
    corners = np.array([[(box.low, box.high)[i >> a & 1][a] - (i >> a & 1) for a in range(3)] for i in range(8)])
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    low, high = world.min(axis=0), world.max(axis=0)
    center = np.round((low + high) / 2 / STEP_MM) * STEP_MM
    half = int(np.ceil((high - low).max() / 2 / STEP_MM)) + 2
    if half > 100:
        raise InputError(
            f"The outline of the mask is {(high - low).max():.0f} mm long, more than a head. Check its spacing."
        )
    a, b, c = center.tolist()
    return Lattice((a, b, c), STEP_MM, 2 * half + 1)


def _depth(room: np.ndarray, lattice: Lattice, outline: np.ndarray, layer: float) -> np.ndarray:
    """Depth in mm within ``room``, less the ``layer`` under the surface of ``outline``."""
    depth = -signed_distance(room, lattice.spacing)
    return np.minimum(depth, -signed_distance(outline, lattice.spacing) - layer) if layer else depth


def deepest(terrain: Terrain) -> float:
    """The largest depth of all free places, mm. Raises InputError where nothing is free."""
    depth = float(terrain.depth.max())
    if depth < LEAST_DEPTH_MM:
        raise InputError("The mask has no room for a new lesion: all of its outline is tumor, or it is too thin.")
    return depth


def choose_center(terrain: Terrain, diameter_mm: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """A random center, RAS mm, at which most of a core of ``diameter_mm`` has room.

    In the upper part of the brain and beside the midline where the outline has such places.
    """
    lattice = terrain.coarse
    span = np.argwhere(terrain.depth > 0)
    low, high = span.min(axis=0), span.max(axis=0)
    indices = low + rng.random((TRIES, 3)) * (high - low)
    depth = terrain.depth[tuple(np.round(indices).astype(int).T)]
    points = indices * STEP_MM + lattice.affine[:3, 3]
    roomy = depth >= min(0.35 * diameter_mm, 0.7 * deepest(terrain))
    beside = np.abs(points[:, 0] - terrain.midline) >= 8 + 0.2 * diameter_mm
    upper = points[:, 2] >= terrain.lowest
    for wish in (roomy & beside & upper, roomy & upper, roomy, depth > 0):
        if wish.any():
            r, a, s = points[np.argmax(wish)].tolist()
            return r, a, s
    raise InputError("The mask has no room for a new lesion. Use a smaller diameter, or a mask with less tumor.")


def site_at(terrain: Terrain, lattice: Lattice) -> Site:
    """What lies around a lesion at the center of ``lattice``."""
    room = lattice.from_grid(terrain.free, terrain.affine) >= 0.5
    depth = -signed_distance(room, lattice.spacing)
    if terrain.layer:
        far_from_surface = lattice.from_grid(terrain.depth, terrain.coarse.affine, -1.0)
        depth = np.minimum(depth, far_from_surface)
    return Site(lattice, depth, terrain.midline - lattice.center[0])


def require_free(terrain: Terrain, center: tuple[float, float, float]) -> None:
    """Raises InputError where ``center`` (RAS mm) is not a place for a lesion."""
    index = np.linalg.inv(terrain.affine) @ [*center, 1.0]
    voxel = tuple(np.round(index[:3]).astype(int).tolist())
    inside = all(0 <= v < n for v, n in zip(voxel, terrain.free.shape, strict=True))
    if not inside or not terrain.free[voxel]:
        where = ", ".join(f"{c:.0f}" for c in center)
        raise InputError(
            f"The center ({where}) mm lies outside of the head or brain outline, or in a tumor that is there already. "
            "Choose a center inside (right, anterior, superior in mm)."
        )


__all__ = ["ShapeSpec", "Terrain", "choose_center", "deepest", "require_free", "site_at", "survey"]
