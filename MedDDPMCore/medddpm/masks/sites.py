"""Where in a head or brain outline a new lesion may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..labels.conventions import CEREBELLAR_CORTEX, CORTEX, CSF, EDEMA, HEAD, outline_kind
from ..labels.morphology import close
from ..labels.scheme import LabelScheme
from .fields import Lattice, bounding_box, signed_distance
from .shape import ShapeSpec, Site
from .stack import FLUID, SOLID, one_of, tissue_labels, tumor_roles

STEP_MM = 3.0
# A growing tumor closes fluid spaces up to twice this width.
SULCUS_MM = 3.0
TRIES = 4096
LEAST_DEPTH_MM = 2.0


class Anatomy(NamedTuple):
    """What an outline holds besides brain (mm): the layer over the brain, and how far below the vertex gliomas lie."""

    layer: float
    below_vertex: float


# Scalp, skull and fluid are about 14 mm thick; a face and neck lie below. Adult gliomas are mostly supratentorial.
HEAD_ANATOMY = Anatomy(layer=14.0, below_vertex=105.0)
BRAIN_ANATOMY = Anatomy(layer=0.0, below_vertex=85.0)


@dataclass(frozen=True)
class Terrain:
    """A label map as lesions see it.

    Tumor may arise in ``free`` voxels; the ``depth`` (mm) of room for a core is on a coarse lattice. ``sulci``: fluid
    outside of the ventricles, which a core closes where it is narrow. ``cortex`` is known where the scheme has tissues.
    ``widest``: the largest depth with all fluid as room, mm; it limits the size of a lesion, which pushes fluid away.
    """

    free: np.ndarray
    sulci: np.ndarray
    cortex: np.ndarray
    affine: np.ndarray
    layer: float
    coarse: Lattice
    depth: np.ndarray
    widest: float
    midline: float
    lowest: float


def survey(labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme) -> Terrain:
    """Find where lesions have room: inside the outline, out of fluid and the cores of tumors that are there already."""
    layer, below_vertex = HEAD_ANATOMY if outline_kind(scheme) == HEAD else BRAIN_ANATOMY
    edema = tumor_roles(scheme).get(EDEMA, scheme.surround)
    free = one_of(labels, (scheme.surround, edema, *tissue_labels(scheme, SOLID)))
    sulci, cortex = (one_of(labels, tissue_labels(scheme, roles)) for roles in ((CSF,), (CORTEX, CEREBELLAR_CORTEX)))
    coarse = _coarse_lattice(labels != 0, affine)
    outline = coarse.from_grid(labels != 0, affine) >= 0.5
    middle = coarse.affine[0, 3] + STEP_MM * np.argwhere(outline)[:, 0].mean() if outline.any() else 0.0
    top = coarse.affine[2, 3] + STEP_MM * np.argwhere(outline)[:, 2].max() if outline.any() else 0.0
    depth = _depth(outline & _room(free, sulci, affine, coarse), coarse, outline, layer)
    widest = float(depth.max())
    fluid = one_of(labels, tissue_labels(scheme, FLUID))
    if fluid.any():
        widest = float(_depth(outline & (coarse.from_grid(free | fluid, affine) >= 0.5), coarse, outline, layer).max())
    return Terrain(free, sulci, cortex, affine, layer, coarse, depth, widest, float(middle), float(top - below_vertex))


def _room(free: np.ndarray, sulci: np.ndarray, affine: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Where on ``lattice`` a core has room: free places and the narrow fluid between them."""
    room = lattice.from_grid(free, affine) >= 0.5
    if not sulci.any():
        return room
    step = lattice.step
    return room | close(room, SULCUS_MM, (step, step, step)) & (lattice.from_grid(free | sulci, affine) >= 0.5)


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
    """The largest depth that limits a lesion's size, mm. Raises InputError where nothing is free."""
    if terrain.depth.max() < LEAST_DEPTH_MM:
        raise InputError("The mask has no room for a new lesion: all of its outline is tumor, or it is too thin.")
    return terrain.widest


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
    roomy = depth >= min(0.35 * diameter_mm, 0.7 * float(terrain.depth.max()))
    beside = np.abs(points[:, 0] - terrain.midline) >= 8 + 0.2 * diameter_mm
    upper = points[:, 2] >= terrain.lowest
    for wish in (roomy & beside & upper, roomy & upper, roomy, depth > 0):
        if wish.any():
            r, a, s = points[np.argmax(wish)].tolist()
            return r, a, s
    raise InputError("The mask has no room for a new lesion. Use a smaller diameter, or a mask with less tumor.")


def site_at(terrain: Terrain, lattice: Lattice) -> Site:
    """What lies around a lesion at the center of ``lattice``."""
    depth = -signed_distance(_room(terrain.free, terrain.sulci, terrain.affine, lattice), lattice.spacing)
    if terrain.layer:
        far_from_surface = lattice.from_grid(terrain.depth, terrain.coarse.affine, -1.0)
        depth = np.minimum(depth, far_from_surface)
    fluid, cortex = (lattice.from_grid(voxels, terrain.affine) for voxels in (terrain.sulci, terrain.cortex))
    ease = np.clip(1 - 3 * fluid, 0, 1) * (1 - 0.9 * cortex)
    return Site(lattice, depth, ease, terrain.midline - lattice.center[0])


def require_free(terrain: Terrain, center: tuple[float, float, float]) -> None:
    """Raises InputError where ``center`` (RAS mm) is not a place for a lesion."""
    index = np.linalg.inv(terrain.affine) @ [*center, 1.0]
    voxel = tuple(np.round(index[:3]).astype(int).tolist())
    inside = all(0 <= v < n for v, n in zip(voxel, terrain.free.shape, strict=True))
    if not inside or not terrain.free[voxel]:
        where = ", ".join(f"{c:.0f}" for c in center)
        raise InputError(
            f"The center ({where}) mm lies outside of the head or brain outline, in fluid, or in an existing tumor. "
            "Choose a center inside (right, anterior, superior in mm)."
        )


__all__ = ["ShapeSpec", "Terrain", "choose_center", "deepest", "require_free", "site_at", "survey"]
