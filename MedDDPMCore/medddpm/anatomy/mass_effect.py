"""How a tumor pushes the brain aside.

A growing tumor takes room that the rest of the skull's content must yield. Tissue moves down the gradient of a pressure
p that sources in the tumor raise and that yielding fluid relieves, inside of the skull, which lets nothing through:

    v = -m grad p,    div v = s - c p

with mobility m (tissue at the skull hardly moves), source s (growth in the tumor) and compliance c, which is high in
ventricles and sulci, so that these narrow first, and low in tissue. This is flow through a porous medium, the simplest
model in which what the tumor adds, others lose: the integrals of s and c p are equal. (Mass effect by elastic models:
Hogea et al. 2008, doi:10.1007/s00285-007-0139-x; Mohamed et al. 2006, doi:10.1016/j.media.2006.06.001.) The velocity is
followed in small steps from the tumor as it is back to a seed, each with the tumor as small as it was then, so that the
whole map cannot fold. All positions are RAS mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lattice import Lattice, lattice_around
from .registration import Outline

STEP_MM = 6.0  # of the lattice on which the pressure is solved
GROWTH = 1.4  # at full strength the tumor's core was smaller by exp(-GROWTH) before it grew
SWELLING = 0.35  # the same of edema
# How far a push reaches, mm, in a region of that kind alone: the square root of mobility by compliance.
TISSUE_MM, SULCUS_MM, VENTRICLE_MM = 300.0, 60.0, 14.0
MOBILE_MM = 30.0  # below the skull from which tissue is free to move
LEAST_MOBILITY = 0.05
HELD_MM = 5.0  # below the skull within which movement fades out
# Mobility across the falx, how deep it reaches, and above which height from the middle of the brain.
FALX, FALX_MM, FALX_ABOVE_MM = 0.1, 28.0, -10.0
STEPS = 6  # so many that no step folds even next to the largest tumor


@dataclass(frozen=True)
class Push:
    """Where tissue came from: lattice point -> ``origins`` (3, X, Y, Z), its position before the tumor, RAS mm.

    ``midline_shift`` (mm) is how far the midsagittal plane was moved where it was moved most, positive toward the
    patient's right.
    """

    origins: np.ndarray
    midline_shift: float


def push(target: Outline, core: np.ndarray, edema: np.ndarray, fluids: np.ndarray, strength: float) -> Push:
    """The push of a tumor on the brain ``target``, at a ``strength`` above 0 up to 1.

    ``core`` and ``edema`` are bool on the grid of ``target``; ``fluids`` (2, X, Y, Z) are the shares of ventricles and
    of other fluid at the points of its lattice, before the tumor.
    """
    lattice = lattice_around(target.brain, target.affine, STEP_MM)
    shares = target.lattice.sample(fluids, lattice.points())
    compliance = 1 / TISSUE_MM**2 + shares[0] / VENTRICLE_MM**2 + shares[1] / SULCUS_MM**2
    inside = lattice.from_grid(target.brain, target.affine) > 0.5
    solver = _Pressure(inside, _mobility(target, lattice), compliance)
    shrinking, swelling = (lattice.from_grid(part, target.affine) for part in (core, edema))
    flows = _flows(solver, lattice, strength * (GROWTH * shrinking + SWELLING * swelling))
    origins = target.lattice.points()
    for flow in flows:
        origins = origins - _held(target, origins) * lattice.sample(flow, origins)
    moved = middle = _midline(target)
    for flow in reversed(flows):
        moved = moved + _held(target, moved) * lattice.sample(flow, moved)
    brain = lattice.sample(shrinking[None], moved)[0] < 0.5  # there is no midline within the tumor
    shift = (target.plane.distance(moved) - target.plane.distance(middle))[brain]
    return Push(origins, float(shift[np.abs(shift).argmax()]) if shift.size else 0.0)


def _flows(solver: _Pressure, lattice: Lattice, growth: np.ndarray) -> list[np.ndarray]:
    """The displacements (3, X, Y, Z), mm, of the steps of growth, the last step first: from the tumor to its seed."""
    flows: list[np.ndarray] = []
    for _ in range(STEPS):
        flows.append(solver.velocity(growth) / STEPS)
        growth = lattice.sample(growth[None], lattice.points() + flows[-1])[0]  # the tumor as it was before this step
    return flows


def _mobility(target: Outline, lattice: Lattice) -> np.ndarray:
    """How freely tissue moves: little at the skull, and across the falx, the membrane between the hemispheres."""
    points = lattice.points()
    depth = target.lattice.sample(target.depth[None], points)[0]
    height = points[2] - points[2][depth > 0].mean()
    near = np.clip(1 - np.abs(target.plane.distance(points)) / STEP_MM, 0, 1)
    falx = near * ((depth < FALX_MM) & (height > FALX_ABOVE_MM))
    return np.clip(depth / MOBILE_MM, LEAST_MOBILITY, 1) * FALX**falx


def _held(target: Outline, points: np.ndarray) -> np.ndarray:
    """How free ``points`` are to move: 0 at the skull, 1 from ``HELD_MM`` below it."""
    return np.clip(target.lattice.sample(target.depth[None], points) / HELD_MM, 0, 1)


def _midline(target: Outline) -> np.ndarray:
    """Points on the midsagittal plane well inside of the brain, (3, N)."""
    grid = target.lattice.points()
    near = grid[:, (np.abs(target.plane.distance(grid)) < target.lattice.step / 2) & (target.depth > 10)]
    return near - target.plane.normal.astype(np.float32)[:, None] * target.plane.distance(near)


class _Pressure:
    """Solves div(m grad p) - c p = -s by conjugate gradients, with no flow through the border of ``inside``."""

    def __init__(self, inside: np.ndarray, mobility: np.ndarray, compliance: np.ndarray):
        self.inside = inside
        self.faces = []
        for axis in range(3):
            here, there = _pair(axis)
            harmonic = 2 * mobility[here] * mobility[there] / (mobility[here] + mobility[there])
            self.faces.append((harmonic * (inside[here] & inside[there]) / STEP_MM**2).astype(np.float32))
        self.diagonal = np.where(inside, compliance, 1).astype(np.float32)
        self.weight = self.diagonal.copy()
        for axis, face in enumerate(self.faces):
            here, there = _pair(axis)
            self.weight[here] += face
            self.weight[there] += face
        self.pressure = np.zeros(inside.shape, np.float32)

    def _apply(self, p: np.ndarray) -> np.ndarray:
        out = self.diagonal * p
        for axis, face in enumerate(self.faces):
            here, there = _pair(axis)
            flow = face * (p[here] - p[there])
            out[here] += flow
            out[there] -= flow
        return out

    def velocity(self, source: np.ndarray) -> np.ndarray:
        """The velocity (3, X, Y, Z) in mm for ``source`` (relative volume added), from the pressure found before."""
        source = np.where(self.inside, source, 0).astype(np.float32)
        p = self.pressure
        residual = source - self._apply(p)
        direction = residual / self.weight
        product = float((residual * direction).sum())
        enough = 1e-6 * float((source * source / self.weight).sum())
        for _ in range(200):
            if product <= enough:
                break
            applied = self._apply(direction)
            length = product / float((direction * applied).sum())
            p = p + length * direction
            residual = residual - length * applied
            scaled = residual / self.weight
            new = float((residual * scaled).sum())
            direction = scaled + new / product * direction
            product = new
        self.pressure = p
        out = np.zeros((3, *p.shape), np.float32)
        for axis, face in enumerate(self.faces):
            here, there = _pair(axis)
            flow = face * (p[here] - p[there]) * np.float32(STEP_MM / 2)
            out[axis][here] += flow
            out[axis][there] += flow
        return out


def _pair(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of all points but the last along ``axis``, and of their neighbors."""
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -1), slice(1, None)
    return tuple(here), tuple(there)
