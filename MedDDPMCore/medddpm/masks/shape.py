"""The shape of one lesion on a lattice in world space: core, necrosis within it, edema around it.

Made to look like a glioma: an irregular, lobed core; a rim of varying thickness with gaps; an edema that runs in
tongues away from the surface of the brain, mostly on one side of the midline and further in one direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError
from .fields import Lattice, largest_component, noise, signed_distance, to_array, to_image

CORTEX_MM = 8.0  # edema hardly enters the outer layer of the brain
FIBER_MM = 4.0  # width of the bundles along which edema runs
FALX_MM = 4.0  # over this distance beyond the midline, growth comes to a halt


@dataclass(frozen=True)
class ShapeSpec:
    """Numbers of one lesion, all known: lengths in mm, ``irregularity`` 0..1, ``elongation`` longest/shortest axis."""

    diameter_mm: float
    irregularity: float
    elongation: float
    rim_mm: float
    edema_mm: float


@dataclass(frozen=True)
class Site:
    """Where a lesion grows: per lattice point the depth (mm) in the tissue that it may take, negative outside.

    ``ease``: how easily edema passes, from 0 in fluid and little in cortex to 1 in white matter. ``midline_mm`` is the
    distance of the mid-sagittal plane from the lesion's center toward the patient's right.
    """

    lattice: Lattice
    depth: np.ndarray
    ease: np.ndarray
    midline_mm: float


@dataclass(frozen=True)
class Shape:
    """Signed distances (mm, negative inside) on the lattice; nested: necrosis within core within edema's outline."""

    core: np.ndarray
    necrosis: np.ndarray
    whole: np.ndarray


def lattice_for(spec: ShapeSpec, center: tuple[float, float, float]) -> Lattice:
    """A lattice that holds the lesion, fine enough for its rim."""
    reach = 0.8 * spec.diameter_mm * spec.elongation**0.5 + 3.5 * spec.edema_mm + 4
    step = float(np.clip(2 * reach / 100, 0.6, 2.5))
    return Lattice(center, step, int(np.ceil(2 * reach / step)))


def draw_shape(spec: ShapeSpec, site: Site, seed: np.random.SeedSequence) -> Shape:
    """The lesion ``spec`` at ``site``. Each part has its own random stream, so changing one leaves the others alone."""
    core_rng, rim_rng, edema_rng = (np.random.default_rng(s) for s in seed.spawn(3))
    core = signed_distance(_core(spec, site, core_rng), site.lattice.spacing)
    necrosis = _necrosis(spec, site.lattice, core, rim_rng)
    whole = np.minimum(core, _edema(spec, site, core, edema_rng)) if spec.edema_mm > 0 else core
    return Shape(core, necrosis, whole)


def _core(spec: ShapeSpec, site: Site, rng: np.random.Generator) -> np.ndarray:
    """The connected core: an ellipsoid, bent and lobed by noise, of the volume of a sphere of the diameter.

    Tissue border pushes it aside: the volume is taken from what is free.
    """
    lattice, radius = site.lattice, spec.diameter_mm / 2
    reach = 1.2 * spec.diameter_mm
    axes = spec.elongation ** np.array([0.5, 0.0, -0.5])
    shaping = (_random_rotation(rng) / axes).T  # world offset -> unit ball
    t = lattice.offsets() / np.float32(radius)
    bend = [np.float32(0.30 * spec.irregularity) * noise(rng, lattice, 0.55 * radius, reach) for _ in range(3)]
    offset = (t[:, None, None] + bend[0], t[None, :, None] + bend[1], t[None, None, :] + bend[2])
    squares = (sum(np.float32(w) * o for w, o in zip(row, offset, strict=True)) ** 2 for row in shaping)
    level = np.sqrt(sum(squares))
    level += np.float32(0.4) * _across(site)
    for strength, scale in ((0.20, 0.40), (0.11, 0.16)):
        level += np.float32(strength * spec.irregularity) * noise(rng, lattice, scale * radius, reach)
    volume = 4 / 3 * np.pi * radius**3 / lattice.step**3
    free = site.depth > 0
    if np.count_nonzero(free) < volume:
        raise InputError(
            f"A core of {spec.diameter_mm:.0f} mm has no room at this center: only "
            f"{free.sum() * lattice.step**3 / 1e3:.0f} mL around it are free. Choose a smaller diameter."
        )
    return largest_component(_lowest(level, free, volume))


def _random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A 3x3 orthogonal matrix, uniformly random (QR of a Gaussian matrix, signs fixed)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def _lowest(level: np.ndarray, allowed: np.ndarray, count: float) -> np.ndarray:
    """The ``count`` points of lowest ``level`` among ``allowed``; all of them where there are fewer."""
    values = level[allowed]
    rank = min(max(1, round(count)), values.size)
    if rank == 0:
        return allowed
    return allowed & (level <= np.partition(values, rank - 1)[rank - 1])


def _necrosis(spec: ShapeSpec, lattice: Lattice, core: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Core deeper than a rim of varying thickness; gaps where a slow field is high, a mottled border by a fine one."""
    radius, reach = spec.diameter_mm / 2, 1.2 * spec.diameter_mm
    slow, gaps = (noise(rng, lattice, scale * radius, reach) for scale in (0.5, 0.35))
    fine = noise(rng, lattice, max(2.0, 0.12 * radius), reach)
    uneven = 1 + spec.irregularity * (0.7 * slow + 0.5 * fine)
    closed = np.clip((1.5 - gaps) / 0.5, 0, 1) if spec.irregularity > 0 else 1.0
    rim = min(spec.rim_mm, 0.4 * radius) * np.clip(uneven, 0.2, 2.5) * closed
    inside = core < 0
    level = core + rim
    # A core too thin for its rim still has a little necrosis where it is deepest.
    least = _lowest(level, inside, 0.03 * float(inside.sum()))
    return np.where(least, np.minimum(level, -0.1 * lattice.step), np.maximum(level, core)).astype(np.float32)


def _edema(spec: ShapeSpec, site: Site, core: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Signed distance of the edema: spread from the core at a speed that varies, until it has its volume.

    The volume is that of an even layer of ``edema_mm`` where there is room for one.
    """
    speed = _spread_speed(spec, site, rng)
    speed[site.depth <= 0] = 0
    layer = (core > 0) & (core <= spec.edema_mm) & (site.depth > 0)
    shell = (core < 0) & (core > -1.5 * site.lattice.step)
    if not layer.any() or not shell.any():
        return core
    march = sitk.FastMarchingImageFilter()
    march.SetTrialPoints(np.argwhere(shell).tolist())
    march.SetStoppingValue(8 * spec.edema_mm)
    arrival = to_array(march.Execute(to_image(speed.astype(np.float64), site.lattice.spacing)))
    reached = (arrival < 8 * spec.edema_mm) & (core > 0) & (site.depth > 0)
    region = _lowest(arrival, reached, float(site.ease[layer].sum())) if reached.any() else reached
    return signed_distance(region | (core <= 0), site.lattice.spacing)


def _spread_speed(spec: ShapeSpec, site: Site, rng: np.random.Generator) -> np.ndarray:
    """Relative speed (about 1) of the edema at each lattice point."""
    lattice, irregularity = site.lattice, spec.irregularity
    reach = lattice.step * lattice.size / 2
    toward = rng.standard_normal(3)
    toward *= 0.9 * irregularity / (np.linalg.norm(toward) * reach)
    t = lattice.offsets()
    x, y, z = t[:, None, None], t[None, :, None], t[None, None, :]
    uneven = toward[0] * x + toward[1] * y + toward[2] * z
    uneven = uneven + 0.9 * irregularity * noise(rng, lattice, 2 * FIBER_MM, reach)
    uneven = uneven + 0.5 * irregularity * noise(rng, lattice, 0.4 * FIBER_MM, 20 * FIBER_MM)
    # Bundles are the sheets where a field changes its sign.
    sheets = np.exp(-((noise(rng, lattice, FIBER_MM, reach) / 0.35) ** 2))
    speed = np.exp(uneven) * (1 - 0.97 * irregularity**0.5 * (1 - sheets))
    speed *= site.ease * (0.1 + 0.9 * np.clip(site.depth / CORTEX_MM, 0, 1) ** 2)
    # Tongues end before the lattice does.
    speed *= np.clip(2.5 * (1 - np.sqrt(x**2 + y**2 + z**2) / reach), 0, 1)
    uneven_falx = np.clip(_across(site) + 0.5 * noise(rng, lattice, FIBER_MM, reach), 0, 3)
    return speed * np.exp(-uneven_falx)


def _across(site: Site) -> np.ndarray:
    """How far a point is on the other side of the midline, in units of ``FALX_MM`` and at most 3; (size, 1, 1)."""
    toward = 1.0 if site.midline_mm > 0 else -1.0
    beyond = toward * (site.lattice.offsets() - site.midline_mm) / FALX_MM
    return np.clip(beyond, 0, 3).astype(np.float32)[:, None, None]
