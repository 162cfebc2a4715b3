"""The way to the model's grid and back: alignment in world space over all orientations, spacings and rotations."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.config import GridConfig
from medddpm.errors import InputError
from medddpm.geometry.grid import (
    from_network,
    image_from_grid,
    image_to_grid,
    labels_from_fractions,
    labels_from_grid,
    labels_to_grid,
    place,
    to_network,
)
from medddpm.geometry.volume import Volume

ORIENTATIONS = tuple(
    "".join(codes) for order in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*order)
)
ELLIPSOID_MM = np.array([12.0, 15.0, 9.0])
CENTER_MM = np.array([7.0, -11.0, 20.0])
GRID = GridConfig((28, 32, 24), (2.0, 2.0, 2.0), "LPS")


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, y and z by ``angles`` in degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def affine_of(
    shape: tuple[int, ...],
    codes: str,
    spacing: tuple[float, ...],
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shift: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """RAS+ affine of a volume with its middle at ``CENTER_MM + shift``."""
    axes = nib.orientations.axcodes2ornt(codes)
    affine = np.eye(4)
    directions = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(axes):
        directions[int(world), axis] = sign
    affine[:3, :3] = rotation(angles) @ directions * np.array(spacing)
    affine[:3, 3] = CENTER_MM + shift - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS+ mm of every voxel center, (X, Y, Z, 3)."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def ellipsoid(shape: tuple[int, ...], affine: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return (((world(shape, affine) - CENTER_MM) / (ELLIPSOID_MM * scale)) ** 2).sum(axis=-1) <= 1


def centroid(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (world(weights.shape, affine) * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()


def sizes_for(codes: str, spacing: tuple[float, ...]) -> tuple[int, int, int]:
    """Voxels that hold the ellipsoid in any rotation, with a margin."""
    x, y, z = (int(np.ceil(44 / s)) + 2 for s in spacing)
    return x, y, z


def nested(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Label 1 inside label 2 inside label 4."""
    labels = np.zeros(shape, np.uint8)
    for value, scale in ((4, 1.0), (2, 0.7), (1, 0.45)):
        labels[ellipsoid(shape, affine, scale)] = value
    return labels


spacings = st.tuples(*[st.floats(0.5, 3.0)] * 3)
rotations = st.tuples(*[st.floats(-45.0, 45.0)] * 3)
offsets = st.tuples(*[st.floats(-1.5, 1.5)] * 3)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ORIENTATIONS), spacings, rotations, offsets)
def test_blobs_stay_within_half_a_voxel(codes: str, spacing: tuple, angles: tuple, shift: tuple) -> None:
    shape = sizes_for(codes, spacing)
    affine = affine_of(shape, codes, spacing, angles, shift)
    labels = nested(shape, affine)
    placement = place(shape, affine, labels > 0, GRID)
    assert placement.lost == 0 and placement.sentence == ""
    grid_affine = np.array(placement.grid_affine)
    assert "".join(nib.aff2axcodes(grid_affine)) == GRID.orientation
    fractions = labels_to_grid(labels, affine, (4, 2, 1), placement)
    on_grid = labels_from_fractions(fractions, (4, 2, 1))
    back = labels_from_grid(on_grid, placement)
    voxel, coarsest = 2.0, max(2.0, *spacing)
    for row, value in enumerate((4, 2, 1)):
        before = centroid(labels == value, affine)
        assert np.abs(centroid(fractions[row], grid_affine) - before).max() < voxel / 2
        assert np.abs(centroid(on_grid == value, grid_affine) - before).max() < voxel / 2
        assert np.abs(centroid(back == value, affine) - before).max() < coarsest / 2
    assert fractions.min() >= 0 and fractions.sum(axis=0).max() <= 1 + 1e-5
    volume = (labels > 0).sum() * np.prod(spacing)
    assert fractions.sum() * 8 == pytest.approx(volume, rel=0.03)
    assert (back > 0).sum() * np.prod(spacing) == pytest.approx(volume, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(ORIENTATIONS), spacings, rotations, offsets)
def test_images_keep_their_place_there_and_back(codes: str, spacing: tuple, angles: tuple, shift: tuple) -> None:
    """A linear ramp over world space is reproduced exactly by linear interpolation, wherever both grids reach."""
    shape = sizes_for(codes, spacing)
    affine = affine_of(shape, codes, spacing, angles, shift)
    slope = np.array([0.5, -0.25, 0.125])
    placement = place(shape, affine, ellipsoid(shape, affine), GRID)
    grid_affine = np.array(placement.grid_affine)
    ramp = Volume((world(shape, affine) @ slope).astype(np.float32), affine)
    on_grid = image_to_grid(ramp, placement, -999.0)
    inside = ellipsoid(GRID.shape, grid_affine, 0.8)
    expected = world(GRID.shape, grid_affine) @ slope
    # Half a voxel along the steepest axis would be off by 0.5.
    assert np.abs(on_grid - expected)[inside].max() < 0.05
    back = image_from_grid(expected.astype(np.float32), placement, -999.0)
    inside = ellipsoid(shape, affine, 0.8)
    assert np.abs(back - ramp.data)[inside].max() < 0.05
    assert back.shape == shape


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_orientations_at_ratio_one_are_copied_exactly(codes: str) -> None:
    rng = np.random.default_rng(0)
    axes = [int(world_axis) for world_axis, _ in nib.orientations.axcodes2ornt(codes)]
    shape = tuple((26, 40, 21)[axis] for axis in axes)
    affine = affine_of(shape, codes, (2, 2, 2), shift=(0.3, 0.1, -0.7))
    head = ellipsoid(shape, affine)
    labels = np.where(head, rng.integers(1, 4, shape), 0).astype(np.uint8)
    image = np.where(head, rng.random(shape), 0).astype(np.float32)
    placement = place(shape, affine, head, GRID)
    on_grid = labels_from_fractions(labels_to_grid(labels, affine, (1, 2, 3), placement), (1, 2, 3))
    moved = image_to_grid(Volume(image, affine), placement, 0.0)
    assert np.array_equal(labels_from_grid(on_grid, placement), labels)
    assert np.array_equal(image_from_grid(moved, placement, 0.0), image)
    # Independently of the code under test: reorient with nibabel, then compare the voxels inside the head in order.
    turned = nib.as_closest_canonical(nib.Nifti1Image(image, affine))
    expected = np.asarray(turned.dataobj)[::-1, ::-1]
    assert np.array_equal(moved[moved > 0], expected[expected > 0])
    # Centered, to within the one voxel that snapping may move it.
    middle = np.array(placement.grid_affine) @ [*((np.array(GRID.shape) - 1) / 2), 1]
    assert np.abs(middle[:3] - CENTER_MM).max() <= 2.0


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ORIENTATIONS), offsets, st.tuples(*[st.integers(1, 4)] * 3), st.integers(0, 2**32 - 1))
def test_integer_ratios_average_whole_voxels(codes: str, shift: tuple, ratio: tuple, seed: int) -> None:
    grid = GridConfig((8, 10, 12), (2.0, 2.0, 2.0), "LPS")
    axes = [int(world_axis) for world_axis, _ in nib.orientations.axcodes2ornt(codes)]
    shape = tuple((9, 11, 7)[axis] * ratio[axis] for axis in axes)
    spacing = tuple(2.0 / ratio[axis] for axis in axes)
    affine = affine_of(shape, codes, spacing, shift=shift)
    labels = np.random.default_rng(seed).integers(0, 3, shape)
    placement = place(shape, affine, labels > 0, grid)
    fractions = labels_to_grid(labels, affine, (1, 2), placement)
    # Count, for each model voxel, the source voxels whose centers lie in it.
    centers = world(shape, affine).reshape(-1, 3)
    index = (np.c_[centers, np.ones(len(centers))] @ np.linalg.inv(np.array(placement.grid_affine)).T)[:, :3]
    assert np.abs(np.abs(index - np.rint(index)) - 0.5).min() > 0.1, "a source voxel straddles two model voxels"
    nearest = np.rint(index).astype(int)
    held = ((nearest >= 0) & (nearest < grid.shape)).all(axis=1)
    for row, value in enumerate((1, 2)):
        count = np.zeros(grid.shape)
        np.add.at(count, tuple(nearest[held & (labels.ravel() == value)].T), 1)
        np.testing.assert_allclose(fractions[row], count / np.prod(ratio), atol=1e-6)


@pytest.mark.parametrize("codes", ("LPS", "RAS", "SLA"))
def test_the_models_own_grid_is_left_alone(codes: str) -> None:
    grid = GridConfig((10, 12, 14), (1.5, 1.0, 2.0), codes)
    affine = affine_of(grid.shape, codes, (1.5, 1.0, 2.0), shift=(3.3, 4.4, 5.5))
    foreground = np.zeros(grid.shape, bool)
    foreground[0, 0, 0] = True
    placement = place(grid.shape, affine, foreground, grid)
    assert np.array_equal(placement.grid_affine, affine) and placement.lost == 0
    noise = np.random.default_rng(1).standard_normal(grid.shape).astype(np.float32)
    assert np.array_equal(image_to_grid(Volume(noise, affine), placement, 0.0), noise)
    assert np.array_equal(image_from_grid(noise, placement, 0.0), noise)
    labels = np.random.default_rng(2).integers(0, 5, grid.shape).astype(np.uint8)
    assert np.array_equal(
        labels_from_fractions(labels_to_grid(labels, affine, (1, 2, 3, 4), placement), (1, 2, 3, 4)), labels
    )
    assert np.array_equal(labels_from_grid(labels, placement), labels)


def test_same_shape_but_turned_is_not_left_alone() -> None:
    shape = GRID.shape
    affine = affine_of(shape, "LPS", (2, 2, 2), (0, 0, 6))
    placement = place(shape, affine, ellipsoid(shape, affine), GRID)
    np.testing.assert_allclose(np.array(placement.grid_affine)[:3, :3], np.diag([-2.0, -2.0, 2.0]))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(ORIENTATIONS), st.tuples(*[st.floats(0.6, 3.0)] * 3), rotations, st.randoms(use_true_random=False)
)
def test_small_structures_survive(codes: str, spacing: tuple, angles: tuple, random: object) -> None:
    """Single voxels of two labels inside a head are on the grid and back again, each near its place."""
    shape = sizes_for(codes, spacing)
    affine = affine_of(shape, codes, spacing, angles)
    labels = ellipsoid(shape, affine).astype(np.uint8)
    points = {value: CENTER_MM + np.array([random.uniform(-4, 4), 5.0 * side, 0]) for value, side in ((2, 1), (3, -1))}  # type: ignore[attr-defined]
    for value, point in points.items():
        labels[tuple(np.rint(np.linalg.inv(affine) @ [*point, 1])[:3].astype(int))] = value
    placement = place(shape, affine, labels > 0, GRID)
    on_grid = labels_from_fractions(labels_to_grid(labels, affine, (1, 2, 3), placement), (1, 2, 3))
    back = labels_from_grid(on_grid, placement)
    for value in points:
        start = centroid(labels == value, affine)
        assert np.abs(centroid(on_grid == value, np.array(placement.grid_affine)) - start).max() < 2.0
        # There and back each round to a whole voxel of a grid.
        assert np.abs(centroid(back == value, affine) - start).max() < 1.0 + max(2.0, *spacing)


def test_every_separate_piece_keeps_a_voxel() -> None:
    shape = (48, 48, 48)
    affine = affine_of(shape, "RAS", (1, 1, 1))
    labels = ellipsoid(shape, affine, 1.2).astype(np.uint8)
    places = [(20 + 5 * a, 18 + 5 * b, 22 + 4 * c) for a, b, c in itertools.product(range(2), range(3), range(2))]
    for point in places:
        labels[point] = 2
    placement = place(shape, affine, labels > 0, GRID)
    on_grid = labels_from_fractions(labels_to_grid(labels, affine, (1, 2), placement), (1, 2))
    assert (on_grid == 2).sum() == len(places)
    back = labels_from_grid(on_grid, placement)
    assert all(back[point] == 2 for point in places)


def test_a_restored_piece_does_not_erase_another() -> None:
    fractions = np.zeros((3, 3, 1, 1), np.float32)
    fractions[:, 1, 0, 0] = 0.40, 0.35, 0.25
    fractions[2, 2, 0, 0] = 0.10
    labels = labels_from_fractions(fractions, (10, 20, 30))
    assert labels[1, 0, 0] == 10 and labels[2, 0, 0] == 30


def test_argmax_rules() -> None:
    fractions = np.zeros((2, 5, 4, 4), np.float32)
    fractions[0, :4], fractions[1, 3:] = 1.0, 1.0
    fractions[0, 3], fractions[1, 3] = 0.5, 0.5
    fractions[1, 4] = 0.3
    labels = labels_from_fractions(fractions, (7, 9))
    assert labels.dtype == np.uint8
    assert (labels[:3] == 7).all() and (labels[3] == 9).all(), "the smaller label wins a tie"
    assert (labels[4] == 0).all(), "background has the rest"
    assert (labels_from_fractions(np.zeros((2, 4, 4, 4), np.float32), (1, 2)) == 0).all()
    with pytest.raises(InputError, match="300"):
        labels_from_fractions(fractions, (7, 300))


def test_what_does_not_fit_is_told() -> None:
    shape = (60, 30, 60)
    affine = affine_of(shape, "LPS", (1, 1, 1))
    head = np.ones(shape, bool)
    placement = place(shape, affine, head, GridConfig((20, 20, 20), (2.0, 2.0, 2.0), "LPS"))
    assert placement.lost == pytest.approx(1 - (40 * 40) / (60 * 60))
    assert "55.6% of the mask" in placement.sentence and "40 x 40 x 40 mm" in placement.sentence
    assert "left side" in placement.sentence and "right side" in placement.sentence
    # Too tall: the crown stays, the neck goes.
    assert "20 mm on the lower side" in placement.sentence and "upper" not in placement.sentence
    top = np.array(placement.grid_affine) @ [0, 0, 19.5, 1]
    assert top[2] == pytest.approx((affine @ [0, 0, 59.5, 1])[2])
    tilted = affine_of(shape, "LPS", (1, 1, 1), (30, 0, 0))
    grid = GridConfig((20, 20, 20), (2.0, 2.0, 2.0), "RAI")
    placement = place(shape, tilted, head, grid)
    index = np.indices(shape).reshape(3, -1)
    inside = placement.source_to_grid @ np.vstack([index, np.ones(index.shape[1])])
    outside = ((inside[:3] < -0.5) | (inside[:3] > 19.5)).any(axis=0).mean()
    assert placement.lost == pytest.approx(outside, abs=1e-3)


def test_empty_foreground_centers_the_volume() -> None:
    shape = (30, 20, 26)
    affine = affine_of(shape, "RAS", (1.3, 1.3, 1.3), (10, 0, 0))
    placement = place(shape, affine, np.zeros(shape, bool), GRID)
    middle = np.array(placement.grid_affine) @ [*((np.array(GRID.shape) - 1) / 2), 1]
    np.testing.assert_allclose(middle[:3], CENTER_MM, atol=1e-6)
    assert placement.lost == 0


def test_fill_and_outside() -> None:
    shape = (12, 12, 12)
    affine = affine_of(shape, "LPS", (1.0, 1.0, 1.0))
    placement = place(shape, affine, np.ones(shape, bool), GRID)
    on_grid = image_to_grid(Volume(np.ones(shape, np.float32), affine), placement, -5.0)
    assert sorted(np.unique(on_grid)) == [-5.0, 1.0] and (on_grid == 1).sum() == 6**3
    small = GridConfig((2, 2, 2), (2.0, 2.0, 2.0), "LPS")
    placement = place(shape, affine, np.ones(shape, bool), small)
    back = image_from_grid(np.ones((2, 2, 2), np.float32), placement, -5.0)
    assert (back == 1).sum() == 64 and (back == -5).sum() == 12**3 - 64
    assert (labels_from_grid(np.ones((2, 2, 2), np.uint8), placement) == 1).sum() == 64


def test_images_of_another_grid_in_the_same_space() -> None:
    shape = (40, 40, 40)
    affine = affine_of(shape, "RAS", (1.2, 1.2, 1.2))
    placement = place(shape, affine, ellipsoid(shape, affine), GRID)
    other_shape = (24, 60, 30)
    other = affine_of(other_shape, "PSR", (2.0, 0.8, 1.6), (15, -10, 5))
    image = Volume(ellipsoid(other_shape, other).astype(np.float32), other)
    moved = image_to_grid(image, placement, 0.0)
    assert np.abs(centroid(moved, np.array(placement.grid_affine)) - CENTER_MM).max() < 0.5


def test_downsampling_does_not_alias() -> None:
    """Stripes finer than the model's voxels become gray."""
    shape = (64, 40, 40)
    for spacing in (0.5, 0.7):
        affine = affine_of(shape, "LPS", (spacing, 1, 1))
        stripes = np.zeros(shape, np.float32)
        stripes[::2] = 1
        placement = place(shape, affine, np.ones(shape, bool), GRID)
        inside = ellipsoid(GRID.shape, np.array(placement.grid_affine), 0.7)
        moved = image_to_grid(Volume(stripes, affine), placement, 0.0)
        assert np.abs(moved[inside] - 0.5).max() < 0.2


def test_very_fine_source_stays_bounded() -> None:
    shape = (400, 30, 30)
    affine = affine_of(shape, "RAS", (0.05, 1, 1), (40, 0, 30))
    labels = np.ones(shape, np.uint8)
    placement = place(shape, affine, labels > 0, GRID)
    fractions = labels_to_grid(labels, affine, (1,), placement)
    assert fractions.sum() * 8 == pytest.approx(labels.size * 0.05, rel=0.05)


def test_placement_is_an_exact_json_record() -> None:
    shape = (20, 21, 22)
    affine = affine_of(shape, "ASL", (1.1, 0.9, 2.2), (3, 4, 5))
    placement = place(shape, affine, ellipsoid(shape, affine), GRID)
    record = json.loads(json.dumps(asdict(placement)))
    assert np.array_equal(record["grid_affine"], placement.grid_affine) and record["grid_shape"] == [28, 32, 24]


def test_wrong_shapes_are_programming_errors() -> None:
    affine = affine_of((4, 4, 4), "RAS", (2, 2, 2))
    with pytest.raises(ValueError, match="foreground"):
        place((4, 4, 4), affine, np.ones((4, 4, 5), bool), GRID)
    placement = place((4, 4, 4), affine, np.ones((4, 4, 4), bool), GRID)
    for function in (lambda d: image_from_grid(d, placement, 0.0), lambda d: labels_from_grid(d, placement)):
        with pytest.raises(ValueError, match="model grid"):
            function(np.zeros((3, 3, 3), np.uint8))


@given(st.lists(st.integers(1, 4), min_size=3, max_size=5))
def test_network_axes_are_reversed_and_back(shape: list[int]) -> None:
    data = np.arange(np.prod(shape)).reshape(shape)
    network = to_network(data)
    assert network.shape == (*shape[:-3], *reversed(shape[-3:])) and network.flags.c_contiguous
    assert (
        network[(..., 0, shape[-2] - 1, shape[-3] - 1)].ravel()[0]
        == data[(..., shape[-3] - 1, shape[-2] - 1, 0)].ravel()[0]
    )
    assert np.array_equal(from_network(network), data) and from_network(network).flags.c_contiguous


@pytest.mark.slow
@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.floats(0.6, 3.0)] * 3),
    st.tuples(*[st.floats(-4, 4)] * 3),
    st.sampled_from((4, 8)),
)
@settings(max_examples=60, deadline=None)
def test_a_grid_that_may_grow_loses_nothing(
    orientation: str, spacing: tuple[float, float, float], angles: tuple[float, float, float], step: int
) -> None:
    shape = tuple(int(60 // s) for s in spacing)
    affine = affine_of(shape, orientation, spacing, angles)
    head = np.zeros(shape, bool)
    head[1:-1, 2:-2, 1:] = True
    small = GridConfig((16, 24, 16), (2.0, 2.0, 2.0), "LPS")
    placement = place(shape, affine, head, small, (step,) * 3)
    assert placement.lost == 0
    grown = [side for side, own in zip(placement.grid_shape, small.shape, strict=True) if side != own]
    assert all(side % step == 0 for side in grown) and min(np.subtract(placement.grid_shape, small.shape)) >= 0
    assert bool(grown) == ("one of" in placement.sentence)
    tight = np.ceil(np.ptp(np.argwhere(head) @ placement.source_to_grid[:3, :3].T, axis=0)) + 1 + step
    assert (np.array(placement.grid_shape) <= np.maximum(small.shape, tight)).all()
    cut = place(shape, affine, head, small, (0, step, 0))
    assert (cut.grid_shape[0], cut.grid_shape[2]) == (16, 16) and cut.lost > 0
