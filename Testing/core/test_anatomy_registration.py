"""A brain map fitted to the outline of another brain, and carried there."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from anatomy_phantoms import AFFINE, CSF, SHAPE, VENTRICLES, WHITE, ball, brain, points_of, turn
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.anatomy.brain_maps import TISSUES, mirrored
from medddpm.anatomy.lattice import Lattice, distance, jacobian, lattice_around, smooth
from medddpm.anatomy.registration import Fit, outline_of, register, relative_volumes
from medddpm.anatomy.warping import deformed, fill, warp_fractions
from medddpm.geometry.volume import Volume

SLOW = settings(max_examples=3, deadline=None, derandomize=True)


@lru_cache(maxsize=2)
def squeezed() -> Fit:
    """The brain fitted to one that is narrower, longer, turned, and has a dent and a bump."""
    inside = brain(pull=turn((8, -5, 6), (1.12, 0.94, 1.05))).data > 0
    return register(brain(), outline_of((inside & ~ball((-62, 20, 20), 22)) | ball((52, 0, 35), 20), AFFINE))


@lru_cache(maxsize=2)
def carried() -> np.ndarray:
    return warp_fractions(brain(), squeezed().points, squeezed().target)


def test_a_lattice_keeps_linear_fields_exactly() -> None:
    lattice = Lattice(np.array([-20.0, 5.0, 3.0]), (9, 8, 7))
    points = lattice.points()
    some = (
        np.random.default_rng(0).uniform(0.1, 0.9, (3, 50)) * (np.array([[8], [7], [6]]) * 3) + lattice.origin[:, None]
    )
    assert np.allclose(lattice.sample(points, some.astype(np.float32)), some, atol=1e-4)
    assert np.allclose(jacobian(2 * points), 8, rtol=1e-3)
    assert np.allclose(smooth(np.full((1, 9, 8, 7), 3.0), 9.0), 3)


@SLOW
@given(st.floats(12, 40), st.tuples(*[st.floats(-20, 20)] * 3), st.sampled_from([1.0, 1.7, 3.0]))
def test_the_distance_knows_a_surface_between_voxels(radius: float, center: tuple, spacing: float) -> None:
    affine = np.diag([spacing, spacing, spacing, 1])
    affine[:3, 3] = -70
    solid = ball(center, radius, (int(140 / spacing),) * 3, affine)
    lattice = lattice_around(solid, affine)
    found = distance(lattice.from_grid(solid, affine))
    true = radius - np.linalg.norm(lattice.points() - np.reshape(center, (3, 1, 1, 1)), axis=0)
    near = np.abs(true) < 6
    assert np.abs(found - true)[near].mean() < 0.35 + 0.1 * spacing


def test_a_ragged_surface_without_slope_has_a_distance() -> None:
    first = [[7, 7, 9], [0, 0, 9], [6, 6, 9], [2, 2, 9]]
    ragged = [first, *[[[9, 9, 9], [0, 0, 9], [9, 9, 9], [v, v, 9]] for v in (1, 0)]]
    found = distance(np.array(ragged, np.float32) / 9)
    assert np.isfinite(found).all() and (found[:, 0] > 0).all() and (found[:, 1, :2] < 0).all()


def test_outlines_agree_and_nothing_folds() -> None:
    fit = squeezed()
    assert fit.dice >= 0.98
    assert relative_volumes(fit.points, fit.target.depth).min() > 0.1
    fine = np.stack(np.meshgrid(*[np.arange(a + 9, b - 9, 1.5) for a, b in _ends(fit.target.lattice)], indexing="ij"))
    placed = fit.target.lattice.sample(fit.points, fine.astype(np.float32))
    rows = [np.gradient(component, 1.5) for component in placed]
    volumes = np.linalg.det(np.moveaxis(np.array(rows), (0, 1), (-2, -1)))
    inside = fit.target.lattice.sample(fit.target.depth[None], fine.astype(np.float32))[0] > 0
    assert volumes[inside].min() > 0  # between the lattice's points neither


def _ends(lattice: Lattice) -> list[tuple[float, float]]:
    return [(o, o + 3 * (n - 1)) for o, n in zip(lattice.origin, lattice.shape, strict=True)]


@pytest.mark.slow
@SLOW
@given(st.tuples(*[st.floats(-20, 20)] * 3), st.tuples(*[st.floats(0.85, 1.2)] * 3), st.floats(-300, 300))
def test_a_brain_is_found_in_any_pose(degrees: tuple, scale: tuple, shift: float) -> None:
    pull = turn(degrees, scale)
    target = brain((76, 76, 76), np.diag([3.0, -3.0, 3.0, 1]) + _offset(-114, 114, -114), pull)
    moved = target.affine.copy()
    moved[:3, 3] += shift
    found = outline_of(target.data > 0, moved)
    normal = pull[:3, :3].T @ [1, 0, 0]
    assert abs(found.plane.normal @ normal) / np.linalg.norm(normal) > np.cos(np.radians(4))
    assert found.plane.normal[0] > 0
    fit = register(brain(), found)
    assert fit.dice >= 0.97 and relative_volumes(fit.points, fit.target.depth).min() > 0.1


def _offset(*shift: float) -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[:3, 3] = shift
    return matrix


def test_ventricles_stay_where_the_outline_does() -> None:
    source = brain()
    fit = register(source, outline_of(source.data > 0, AFFINE))
    shares = warp_fractions(source, fit.points, fit.target)[VENTRICLES - 4]
    given_middle = points_of(SHAPE, AFFINE)[:, source.data == VENTRICLES].mean(axis=1)
    middle = (points_of(SHAPE, AFFINE) * shares).sum(axis=(1, 2, 3)) / shares.sum()
    assert np.linalg.norm(middle - given_middle) < 1
    assert shares.sum() == pytest.approx((source.data == VENTRICLES).sum(), rel=0.08)


@pytest.mark.slow
def test_a_dent_does_not_bend_the_ventricles() -> None:
    source = brain()
    dented = (source.data > 0) & ~ball((-64, 0, 20), 18)
    fit = register(source, outline_of(dented, AFFINE))
    moved = fit.points - fit.target.lattice.points()
    shares = fit.target.lattice.from_grid(source.data == VENTRICLES, AFFINE) > 0.5
    left, right = (moved[:, shares & (side * fit.target.lattice.points()[0] > 0)] for side in (-1, 1))
    assert fit.dice > 0.97
    assert np.abs(left.mean(axis=1) - right.mean(axis=1)).max() < 2.5


def test_a_brain_that_the_image_cuts_is_not_squeezed_into_it() -> None:
    source = brain()
    cut = (slice(None), slice(None), slice(24, None))
    affine = AFFINE.copy()
    affine[2, 3] += 24 * 3
    fit = register(source, outline_of((source.data > 0)[cut], affine))
    shares = warp_fractions(source, fit.points, fit.target)
    assert fit.dice > 0.97
    labels = source.data[cut]
    assert shares[VENTRICLES - 4][labels == VENTRICLES].mean() > 0.65
    assert shares[WHITE - 4][labels == WHITE].mean() > 0.65


def test_shares_fill_the_outline_and_nothing_else() -> None:
    shares, target = carried(), squeezed().target
    assert shares.dtype == np.float32 and shares.shape == (len(TISSUES), *SHAPE)
    total = shares.sum(axis=0)
    assert np.allclose(total[target.brain], 1, atol=1e-5) and not total[~target.brain].any()
    assert not shares[0].any() and shares.min() >= 0
    assert all(share.max() > 0.9 for share in shares[1:])


def test_every_tissue_has_its_own_channel() -> None:
    source = brain()
    fit = outline_of(source.data > 0, AFFINE)
    shares = warp_fractions(source, fit.lattice.points(), fit)
    for channel, value in enumerate(TISSUES[1:], 1):
        inside = source.data == value
        assert shares[channel][inside].mean() > 0.6 > 0.2 > shares[channel][~inside].mean()


@pytest.mark.slow
def test_coarse_voxels_hold_the_mean() -> None:
    fine = Volume(np.kron(brain().data, np.ones((3, 3, 3), np.uint8)), AFFINE @ np.diag([1 / 3, 1 / 3, 1 / 3, 1]))
    fine.affine[:3, 3] -= AFFINE[:3, :3] @ [1 / 3, 1 / 3, 1 / 3]
    target = outline_of(brain().data > 0, AFFINE)
    shares = warp_fractions(fine, target.lattice.points(), target)
    inside = brain().data == WHITE
    assert shares[WHITE - 4][inside].mean() > 0.93
    whole = outline_of(fine.data > 0, fine.affine)
    every = warp_fractions(fine, whole.lattice.points(), whole)
    means = every.reshape(8, SHAPE[0], 3, SHAPE[1], 3, SHAPE[2], 3).mean(axis=(2, 4, 6))
    assert np.abs(means - shares)[:, target.brain].mean() < 0.01


def test_what_the_map_does_not_reach_takes_the_tissue_beside_it() -> None:
    shares = np.zeros((8, 5, 5, 5), np.float32)
    covered, inside = np.zeros((2, 5, 5, 5), bool)
    shares[3, 0], shares[5, 4], covered[[0, 4]], inside[:, 1:4, 1:4] = 1, 1, True, True
    fill(shares, covered, inside | covered)
    assert (shares[3, 1, 1:4, 1:4] > 0.99).all() and (shares[5, 3, 1:4, 1:4] > 0.99).all()
    assert np.allclose(shares.sum(axis=0)[1:4, 1:4, 1:4], 1) and not shares[:, 2, 0].any()


def test_a_mirrored_map_has_left_and_right_exchanged() -> None:
    source = brain()
    source.data[ball((20, 20, 40), 8)] = CSF
    flipped = mirrored(source)
    middles = [(points_of(SHAPE, v.affine)[0] * (v.data > 0)).sum() / (v.data > 0).sum() for v in (source, flipped)]
    assert middles[0] == pytest.approx(middles[1], abs=3.1)
    assert mirrored(flipped).affine == pytest.approx(source.affine)
    spot = points_of(SHAPE, flipped.affine)[:, source.data == CSF]
    assert np.hypot(*(spot[1:] - [[20], [40]]))[np.abs(spot[0] + 20) < 4].min() < 4


@SLOW
@given(st.integers(0, 2**32 - 1))
def test_random_variation_is_small_and_keeps_skull_and_midline(seed: int) -> None:
    target = outline_of(brain().data > 0, AFFINE)
    grid = target.lattice.points()
    points = deformed(target, np.random.default_rng(seed))
    moved = np.linalg.norm(points - grid, axis=0)
    assert 0.5 < moved[target.depth > 15].mean() < 5 and moved.max() < 12
    assert not moved[target.depth <= 0].any()
    assert jacobian(points)[target.depth > 0].min() >= 0.4
    middle = (np.abs(target.plane.distance(grid)) < 0.5) & (target.depth > 0)
    assert np.abs(target.plane.distance(points))[middle].max(initial=0) < 1
    assert np.array_equal(points, deformed(target, np.random.default_rng(seed)))
