"""A tumor pushes the brain: which way, how far, what gives, and that nothing folds or leaves the skull."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from anatomy_phantoms import AFFINE, CSF, VENTRICLES, ball, brain
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.anatomy.lattice import jacobian
from medddpm.anatomy.mass_effect import Push, push
from medddpm.anatomy.registration import Outline, outline_of
from medddpm.geometry.resample import index_map, resample


@lru_cache(maxsize=1)
def target() -> Outline:
    return outline_of(brain().data > 0, AFFINE)


@lru_cache(maxsize=1)
def fluids() -> np.ndarray:
    lattice = target().lattice
    return np.stack([lattice.from_grid(brain().data == value, AFFINE) for value in (VENTRICLES, CSF)])


@lru_cache(maxsize=32)
def pushed(center: tuple[float, float, float], radius: float, strength: float = 1.0, edema: float = 8.0) -> Push:
    inside = brain().data > 0
    core = ball(center, radius) & inside
    return push(target(), core, ball(center, radius + edema) & inside & ~core, fluids(), strength)


def moved(result: Push) -> np.ndarray:
    return result.origins - target().lattice.points()


def volumes(result: Push) -> np.ndarray:
    """Volume before by volume after, of each cell inside."""
    return jacobian(result.origins)[target().depth > 0]


@pytest.mark.parametrize("side", [-1, 1])
def test_the_midline_moves_away_from_the_tumor(side: int) -> None:
    assert -side * pushed((side * 35.0, 0.0, 25.0), 20.0).midline_shift > 1


def test_a_large_glioma_shifts_the_midline_as_much_as_it_does_in_patients() -> None:
    assert 4 < pushed((-32.0, 0.0, 25.0), 25.0).midline_shift < 12


def test_a_larger_tumor_shifts_more() -> None:
    shifts = [pushed((-35.0, 0.0, 25.0), radius).midline_shift for radius in (6.0, 12.0, 18.0, 24.0)]
    assert np.all(np.diff(shifts) > 0.3)


def test_a_stronger_effect_shifts_more_and_a_vanishing_one_not_at_all() -> None:
    results = [pushed((-35.0, 0.0, 25.0), 18.0, strength) for strength in (1e-6, 0.25, 0.5, 1.0)]
    assert np.all(np.diff([r.midline_shift for r in results]) > 0.3)
    assert np.abs(moved(results[0])).max() < 1e-3 and abs(results[0].midline_shift) < 1e-3


def test_edema_pushes_less_than_the_same_volume_of_core() -> None:
    center, inside = (-35.0, 0.0, 25.0), brain().data > 0
    none, whole = np.zeros_like(inside), ball(center, 22) & inside
    shifts = [
        push(target(), core, edema, fluids(), 1.0).midline_shift for core, edema in ((none, whole), (whole, none))
    ]
    assert 0.2 < shifts[0] < 0.7 * shifts[1]


def test_tissue_comes_from_nearer_the_tumor() -> None:
    center = (-35.0, 0.0, 25.0)
    result, grid = pushed(center, 20.0), target().lattice.points()
    away = grid - np.reshape(center, (3, 1, 1, 1))
    distance = np.linalg.norm(away, axis=0)
    outward = -(moved(result) * away).sum(axis=0) / np.maximum(distance, 1)
    inside = target().depth > 8
    near, far = inside & (np.abs(distance - 24) < 4), inside & (distance > 70)
    assert outward[near].mean() > 3
    assert np.linalg.norm(moved(result), axis=0)[far].mean() < 0.25 * outward[near].mean()


def test_the_skull_side_stays() -> None:
    result = pushed((-45.0, 0.0, 25.0), 20.0)
    assert not moved(result)[:, target().depth <= 0].any()
    assert np.linalg.norm(moved(result), axis=0)[(target().depth > 0) & (target().depth < 2)].max() < 3


def test_ventricles_give_way_before_tissue_does() -> None:
    result = pushed((-35.0, 0.0, 25.0), 20.0)
    lattice = target().lattice
    after = lattice.sample(fluids(), result.origins)[0]
    inside = target().depth > 0
    assert after[inside].sum() < 0.8 * fluids()[0][inside].sum()
    narrowed = jacobian(result.origins)
    ventricles, deep = after > 0.8, (fluids().sum(axis=0) < 0.01) & (target().depth > 15) & ~_near_tumor(lattice)
    assert narrowed[ventricles].mean() > 1.3 > 1.1 > np.abs(narrowed[deep].mean())


def _near_tumor(lattice) -> np.ndarray:
    return ball((-35.0, 0.0, 25.0), 34, lattice.shape, lattice.affine)


def test_a_tumor_on_the_midline_pushes_to_both_sides() -> None:
    middle = pushed((0.0, 10.0, 35.0), 16.0)
    assert abs(middle.midline_shift) < 0.35 * abs(pushed((-20.0, 10.0, 35.0), 16.0).midline_shift)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.tuples(st.floats(-60, 60), st.floats(-75, 75), st.floats(-50, 60)),
    st.floats(3, 40),
    st.sampled_from([0.0, 15.0]),
)
def test_no_tumor_folds_the_brain(center: tuple[float, float, float], radius: float, edema: float) -> None:
    inside = brain().data > 0
    core = ball(center, radius) & inside
    other = ball((-center[0], center[1], center[2]), radius / 2) & inside
    result = push(target(), core | other, ball(center, radius + edema) & inside & ~core, fluids(), 1.0)
    assert volumes(result).min() > 0.02
    assert np.isfinite(result.origins).all() and abs(result.midline_shift) < 40


def test_the_push_does_not_depend_on_the_axes_of_the_grid() -> None:
    flipped = np.diag([-1.0, 1, 1, 1])
    affine = AFFINE @ flipped
    affine[:3, 3] += AFFINE[:3, 0] * (brain().shape[0] - 1)
    core = ball((-35.0, 0.0, 25.0), 18.0)
    other = resample(core.view(np.uint8), index_map(affine, AFFINE), core.shape, 0.0) > 0.5
    none = np.zeros_like(core)
    same = outline_of((brain().data > 0)[::-1], affine)
    results = [push(target(), core, none, fluids(), 1.0), push(same, other, none, fluids(), 1.0)]
    assert results[0].midline_shift == pytest.approx(results[1].midline_shift, abs=0.05)
    assert np.allclose(results[0].origins, results[1].origins, atol=0.05)
