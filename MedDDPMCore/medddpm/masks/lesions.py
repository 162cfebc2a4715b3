"""New lesions: random but repeatable, with nested necrotic, enhancing and edema parts, inside the outline of a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry.volume import voxel_ml
from ..labels.conventions import EDEMA, ENHANCING, NECROTIC, TUMOR
from ..labels.scheme import LabelScheme
from .fields import FAR, Box, Lattice, largest_component, mapped_box, require_label_map
from .shape import Shape, ShapeSpec, draw_shape, lattice_for
from .sites import Terrain, choose_center, deepest, require_free, site_at, survey
from .stack import tumor_roles, value_for

# Log-normal, as (geometric mean in mm, standard deviation of the logarithm). Measured in BraTS segmentations of 20
# gliomas, those of the demo model's training: the sphere with the volume of the core (15.8 to 70.4 mm), and the even
# layer around the core, inside of the brain, with the volume of the edema (1 to 16 mm).
CORE_DIAMETER = (38.9, 0.43)
EDEMA_WIDTH = (5.6, 0.68)
# The single label of whole-head masks; a guess that the four published ones (11 to 24 mm) agree with.
WHOLE_DIAMETER = (18.0, 0.35)
DIAMETER_LIMITS = (2.0, 120.0)
MAX_COUNT = 50


@dataclass(frozen=True)
class LesionSpec:
    """What to add; None means random from a plausible distribution.

    ``center_mm``: RAS mm, of the first lesion. ``diameter_mm``: of the sphere with the volume of the core.
    ``irregularity``: 0 smooth ellipsoid to 1 ragged. ``elongation``: longest to shortest axis, 1 to 4. ``parts``: which
    of "necrotic", "enhancing", "edema" (or "tumor" in a scheme with one tumor label); None is all that the scheme has.
    ``rim_mm``: mean thickness of the enhancing rim around necrosis. ``edema_mm``: mean width of the edema. ``count``:
    number of lesions; their cores do not overlap.
    """

    center_mm: tuple[float, float, float] | None = None
    diameter_mm: float | None = None
    irregularity: float = 0.6
    elongation: float = 1.6
    parts: tuple[str, ...] | None = None
    rim_mm: float = 4.0
    edema_mm: float | None = None
    count: int = 1

    def __post_init__(self) -> None:
        low, high = DIAMETER_LIMITS
        _require(self.diameter_mm is None or low <= self.diameter_mm <= high, "diameter", self.diameter_mm, "2-120 mm")
        _require(0 <= self.irregularity <= 1, "irregularity", self.irregularity, "0 to 1")
        _require(1 <= self.elongation <= 4, "elongation", self.elongation, "1 to 4")
        _require(0 < self.rim_mm <= 50, "rim", self.rim_mm, "above 0 and up to 50 mm")
        _require(self.edema_mm is None or 0 < self.edema_mm <= 40, "edema", self.edema_mm, "above 0 and up to 40 mm")
        _require(1 <= self.count <= MAX_COUNT, "count", self.count, f"1 to {MAX_COUNT}")
        if self.center_mm is not None:
            good = len(self.center_mm) == 3 and all(math.isfinite(c) for c in self.center_mm)
            _require(good, "center", self.center_mm, "three numbers (right, anterior, superior in mm)")


@dataclass(frozen=True)
class LesionResult:
    """``labels``: the new label map, uint8. ``centers_mm``: RAS mm, one a lesion.

    ``volumes_ml``: milliliters of the new lesions by the name of the scheme's label.
    """

    labels: np.ndarray
    centers_mm: tuple[tuple[float, float, float], ...]
    volumes_ml: dict[str, float]

    @property
    def center_mm(self) -> tuple[float, float, float]:
        """Center of the first lesion, RAS mm."""
        return self.centers_mm[0]


def add_lesion(
    labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, spec: LesionSpec | None = None, seed: int = 0
) -> LesionResult:
    """``labels`` (X, Y, Z; values of ``scheme``) with new lesions after ``spec``.

    ``affine`` is 4x4, voxel index -> RAS+ mm. The same seed gives the same lesion on grids of other spacing or
    orientation, up to rounding to voxels. Only surround and tissue become tumor, and edema of another lesion where a
    new core lies; fluid stays, but for narrow sulci within a core. Raises InputError where the scheme lacks a part, or
    the mask has no room.
    """
    spec = spec or LesionSpec()
    affine = np.asarray(affine, dtype=float)
    before = require_label_map(labels, affine, scheme)
    values = part_values(scheme, spec.parts)
    result = before.copy(order="K")
    centers = []
    for number, lesion_seed in enumerate(np.random.SeedSequence(seed).spawn(spec.count)):
        centers.append(_add_one(result, affine, scheme, spec, values, lesion_seed, first=number == 0))
    changed = result[result != before]
    volumes = {
        scheme.label(v).name: float((changed == v).sum()) * voxel_ml(affine) for v in sorted(set(values.values()))
    }
    return LesionResult(result, tuple(centers), volumes)


def part_values(scheme: LabelScheme, parts: tuple[str, ...] | None) -> dict[str, int]:
    """Role -> label value of the parts to draw. Raises InputError where the scheme lacks one, or none is named."""
    if parts is None:
        known = tumor_roles(scheme)
        parts = tuple(role for role in (NECROTIC, ENHANCING, TUMOR, EDEMA) if role in known)
    if not parts:
        raise InputError("A lesion needs at least one part: necrotic, enhancing or edema.")
    return {role: value_for(scheme, role) for role in parts}


def _require(good: bool, what: str, value: object, allowed: str) -> None:
    if not good:
        raise InputError(f"A lesion cannot have the {what} {value}; it must be {allowed}.")


def _add_one(
    labels: np.ndarray,
    affine: np.ndarray,
    scheme: LabelScheme,
    spec: LesionSpec,
    values: dict[str, int],
    seed: np.random.SeedSequence,
    first: bool,
) -> tuple[float, float, float]:
    """Paint one lesion into ``labels``; its center in RAS mm."""
    place_seed, size_seed, shape_seed = seed.spawn(3)
    terrain = survey(labels, affine, scheme)
    numbers = _sizes(spec, values, deepest(terrain), np.random.default_rng(size_seed), first)
    center = spec.center_mm if first else None
    if center is None:
        center = choose_center(terrain, numbers.diameter_mm, np.random.default_rng(place_seed))
    else:
        require_free(terrain, center)
    lattice = lattice_for(numbers, center)
    shape = draw_shape(numbers, site_at(terrain, lattice), shape_seed)
    _paint(labels, terrain, lattice, shape, values)
    return center


def _sizes(spec: LesionSpec, values: dict[str, int], depth: float, rng: np.random.Generator, first: bool) -> ShapeSpec:
    """The lesion's numbers, random where ``spec`` has None; further lesions of random size are smaller."""
    median, spread = WHOLE_DIAMETER if TUMOR in values else CORE_DIAMETER
    draws = rng.standard_normal(2)
    share = 1.0 if first else rng.uniform(0.35, 0.9)
    random_diameter = np.clip(share * median * np.exp(spread * draws[0]), 6.0, 1.5 * depth)
    diameter = spec.diameter_mm or max(float(random_diameter), DIAMETER_LIMITS[0])
    width = spec.edema_mm or float(np.clip(EDEMA_WIDTH[0] * np.exp(EDEMA_WIDTH[1] * draws[1]), 2.0, 20.0))
    return ShapeSpec(diameter, spec.irregularity, spec.elongation, spec.rim_mm, width if EDEMA in values else 0.0)


def _paint(labels: np.ndarray, terrain: Terrain, lattice: Lattice, shape: Shape, values: dict[str, int]) -> None:
    """Write the lesion's parts into ``labels``, in place."""
    affine = terrain.affine
    target = mapped_box(lattice.box, np.linalg.inv(affine) @ lattice.affine).clipped(labels.shape)
    block, free = labels[target.slices], terrain.free[target.slices]
    whole, core, necrosis = (lattice.to_grid(f, affine, target, FAR) for f in (shape.whole, shape.core, shape.necrosis))
    inside = largest_component((core <= 0) & (free | terrain.sulci[target.slices]))
    if not inside.any():
        inside = _nearest_voxel(core, free, target)
    if EDEMA in values:
        block[((whole <= 0) & free) | inside] = values[EDEMA]
    solid = values.get(ENHANCING, values.get(TUMOR, values.get(NECROTIC)))
    if solid is not None:
        block[inside] = solid
    if NECROTIC in values and ENHANCING in values:
        block[inside & (necrosis <= 0)] = values[NECROTIC]


def _nearest_voxel(core: np.ndarray, room: np.ndarray, target: Box) -> np.ndarray:
    """The voxel nearest to a core that is smaller than the voxels."""
    if 0 in target.shape or not room.any():
        raise InputError("The lesion's center has no room for a tumor. Choose another center.")
    distance = np.where(room, core, 2 * FAR)
    return distance == distance.min()
