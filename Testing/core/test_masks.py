"""Edits of a tumor inside its outline, and the authors' two generators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.labels.scheme import Label, LabelScheme, load_scheme
from medddpm.masks import (
    grow_tumor,
    mirror_tumor,
    scale_series,
    shift_series,
    transform_tumor,
)
from medddpm.masks.fields import Box, mapped_box, signed_distance
from medddpm.masks.stack import nesting_order, value_for

BRATS = load_scheme("brats")
HEAD = load_scheme("whole-head")
ANATOMY = load_scheme("glioma-anatomy")
SHAPE = (44, 44, 44)


def make_affine(spacing=(2.0, 2.0, 2.0), angle=0.0, flip=False) -> np.ndarray:
    """An affine with the center of the grid at the world's origin, turned about S by ``angle`` degrees."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    if flip:
        matrix[:3, 0] *= -1
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return matrix


def world(affine: np.ndarray) -> np.ndarray:
    """RAS mm of all voxel centers, (X, Y, Z, 3)."""
    return np.moveaxis(np.indices(SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def ball(affine: np.ndarray, center, radius) -> np.ndarray:
    return (((world(affine) - np.array(center)) / radius) ** 2).sum(axis=-1) <= 1


def make_labels(affine: np.ndarray, center=(0, 0, 0), radii=(6, 9, 13), scheme=BRATS) -> np.ndarray:
    """A brain of 40 mm radius with a nested tumor of three radii (mm)."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball(affine, (0, 0, 0), np.array([38, 40, 36]))] = scheme.surround
    for value, radius in zip(reversed(nesting_order(scheme)), reversed(radii), strict=False):
        labels[ball(affine, center, radius)] = value
    return labels


def centroid(inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(inside).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]


def tumor(labels: np.ndarray, scheme=BRATS) -> np.ndarray:
    return np.isin(labels, scheme.tumor_values)


def require_same_outline(before: np.ndarray, after: np.ndarray, scheme=BRATS) -> None:
    assert after.dtype == np.uint8 and after.shape == before.shape
    np.testing.assert_array_equal(before == 0, after == 0)
    assert set(np.unique(after)) <= {0, *scheme.values}


def with_tissues(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The brain of ``make_labels`` with every tissue somewhere, and some of it not classified."""
    x, y, z = np.moveaxis(world(affine), -1, 0)
    tissues = np.select(
        [np.abs(x) < 3, z < -18, z < -10, y > 22, y < -22, x < -24, x > 24], [6, 10, 11, 7, 9, 5, 8], default=4
    )
    return np.where(labels == 4, tissues, labels).astype(np.uint8)


affines = st.builds(
    make_affine,
    spacing=st.sampled_from([(2.0, 2.0, 2.0), (1.7, 2.3, 3.0), (2.5, 2.0, 1.8)]),
    angle=st.sampled_from([0.0, 20.0, -35.0]),
    flip=st.booleans(),
)


def scaled(labels, affine, scheme, factor, **more):
    return transform_tumor(labels, affine, scheme, factor=factor, **more)


def shifted(labels, affine, scheme, offset_mm, **more):
    return transform_tumor(labels, affine, scheme, offset_mm=offset_mm, **more)


def rotated(labels, affine, scheme, degrees):
    return transform_tumor(labels, affine, scheme, degrees=degrees)


few = settings(max_examples=8, deadline=None)


EDITS = (
    lambda labels, affine, scheme, amount: scaled(labels, affine, scheme, 0.5 + amount * 1.5),
    lambda labels, affine, scheme, amount: shifted(labels, affine, scheme, (20 * amount, -15 * amount, 5)),
    lambda labels, affine, scheme, amount: rotated(labels, affine, scheme, (90 * amount, 10, -45)),
    lambda labels, affine, scheme, amount: grow_tumor(labels, affine, scheme, 8 * (amount - 0.5)),
    lambda labels, affine, scheme, amount: mirror_tumor(labels, affine, scheme),
)


@few
@given(
    affine=affines, center=st.tuples(*[st.floats(-15, 15)] * 3), edit=st.sampled_from(EDITS), amount=st.floats(0.1, 1)
)
def test_every_edit_leaves_the_outline_and_the_input_alone(affine, center, edit, amount):
    labels = make_labels(affine, center)
    before = labels.copy()
    result = edit(labels, affine, BRATS, amount)
    np.testing.assert_array_equal(labels, before)
    require_same_outline(before, result.labels)
    assert tumor(result.labels).any()
    assert 0 < result.kept_fraction <= 1


@few
@given(
    affine=affines, center=st.tuples(*[st.floats(-15, 15)] * 3), edit=st.sampled_from(EDITS), amount=st.floats(0.1, 1)
)
def test_a_tumor_moves_over_tissues_as_over_brain_and_leaves_brain_behind(affine, center, edit, amount):
    plain = make_labels(affine, center)
    labels = with_tissues(plain, affine)
    result, expected = edit(labels, affine, ANATOMY, amount), edit(plain, affine, BRATS, amount)
    np.testing.assert_array_equal(np.where(result.labels > 4, 4, result.labels), expected.labels)
    assert result.kept_fraction == expected.kept_fraction
    healthy = ~tumor(result.labels)
    stayed = healthy & ~tumor(labels)
    np.testing.assert_array_equal(result.labels[stayed], labels[stayed])
    assert (result.labels[healthy & tumor(labels)] == 4).all()


@few
@given(affine=affines, factor=st.floats(0.5, 1.7))
def test_scaling_changes_every_part_by_the_cube_of_the_factor(affine, factor):
    labels = make_labels(affine)
    result = scaled(labels, affine, BRATS, factor)
    assert result.kept_fraction == 1 and result.lost_voxels == 0
    for value in BRATS.tumor_values:
        expected = (labels == value).sum() * factor**3
        assert abs((result.labels == value).sum() - expected) <= 2
    drift = np.abs(centroid(tumor(result.labels), affine) - centroid(tumor(labels), affine))
    assert drift.max() < 1.0


@few
@given(affine=affines, offset=st.tuples(*[st.floats(-14, 14)] * 3))
def test_shifting_moves_the_centroid_by_the_offset_in_mm(affine, offset):
    labels = make_labels(affine)
    result = shifted(labels, affine, BRATS, offset)
    moved = centroid(tumor(result.labels), affine) - centroid(tumor(labels), affine)
    # A flat face of the ball can only move by whole voxels.
    assert (np.abs(moved - offset) <= 0.25 * np.max(np.abs(affine[:3, :3]).sum(axis=0))).all()
    assert tumor(result.labels).sum() == tumor(labels).sum()


def test_a_shift_by_whole_voxels_is_exact():
    affine = make_affine((1.7, 2.3, 3.0))
    labels = make_labels(affine)
    result = shifted(labels, affine, BRATS, (1.7 * 3, -2.3 * 2, 3.0)).labels
    np.testing.assert_array_equal(np.roll(labels * tumor(labels), (3, -2, 1), (0, 1, 2)), result * tumor(result))


@few
@given(affine=affines, axis=st.integers(0, 2))
def test_a_full_turn_is_the_identity(affine, axis):
    labels = make_labels(affine, (5, 3, -4), radii=(5, 8, 14))
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 360.0
    np.testing.assert_array_equal(rotated(labels, affine, BRATS, degrees).labels, labels)


@few
@given(affine=affines)
def test_rotation_turns_right_handed_about_the_patient_axis(affine):
    labels = np.where(ball(affine, (0, 0, 0), 38), np.uint8(4), np.uint8(0))
    labels[ball(affine, (0, 0, 0), np.array([16, 5, 5]))] = 2
    labels[ball(affine, (11, 0, 0), 4)] = 3
    result = rotated(labels, affine, BRATS, (0, 0, 90)).labels
    np.testing.assert_allclose(centroid(result == 3, affine), (0, 11, 0), atol=1.5)


@few
@given(affine=affines, r=st.floats(8, 18))
def test_mirroring_swaps_left_and_right_and_twice_is_the_identity(affine, r):
    labels = make_labels(affine, (r, 4, -3), radii=(4, 7, 10))
    once = mirror_tumor(labels, affine, BRATS).labels
    middle = centroid(labels != 0, affine)[0]
    before, after = centroid(tumor(labels), affine), centroid(tumor(once), affine)
    np.testing.assert_allclose(after, [2 * middle - before[0], before[1], before[2]], atol=0.4)
    twice = mirror_tumor(once, affine, BRATS).labels
    overlap = 2 * (tumor(twice) & tumor(labels)).sum() / (tumor(twice).sum() + tumor(labels).sum())
    assert overlap > 0.9


@few
@given(affine=affines, distance=st.floats(-3, 5))
def test_growing_moves_the_surface_by_the_distance_in_mm(affine, distance):
    labels = make_labels(affine, radii=(5, 9, 14))
    result = grow_tumor(labels, affine, BRATS, distance).labels
    volume = tumor(result).sum() * abs(np.linalg.det(affine[:3, :3]))
    assert abs((3 * volume / 4 / np.pi) ** (1 / 3) - (14 + distance)) < 0.35 * np.abs(affine[:3, :3]).sum(axis=0).max()
    assert set(BRATS.tumor_values) <= set(np.unique(result))


@few
@given(affine=affines, edit=st.integers(0, 2), amount=st.floats(0, 1))
def test_parts_stay_nested(affine, edit, amount):
    labels = make_labels(affine, radii=(5, 9, 15))
    result = (
        lambda: scaled(labels, affine, BRATS, 0.6 + amount),
        lambda: grow_tumor(labels, affine, BRATS, 6 * amount - 3),
        lambda: rotated(labels, affine, BRATS, (90 * amount, 0, 45)),
    )[edit]().labels
    core = np.isin(result, (1, 3))
    around = np.zeros_like(core)
    for axis in range(3):
        around |= np.roll(core, 1, axis) | np.roll(core, -1, axis)
    assert not (around & (result == 4)).any(), "edema lies between core and brain"


def test_a_rim_of_one_voxel_survives_shrinking():
    affine = make_affine((1.0, 1.0, 1.0))
    labels = make_labels(affine, radii=(8, 9, 14))
    half = scaled(labels, affine, BRATS, 0.5).labels
    assert abs((half == 3).sum() - (labels == 3).sum() / 8) <= 2


def test_growing_a_mottled_core_does_not_swallow_the_enhancing_part():
    affine = make_affine((1.0, 1.0, 1.0))
    labels = make_labels(affine, radii=(0.1, 12, 16))
    checks = np.indices(SHAPE).sum(axis=0) % 2 == 0
    labels[(labels == 3) & checks] = 1
    grown = grow_tumor(labels, affine, BRATS, 2.0).labels
    assert (grown == 3).sum() >= 0.95 * (labels == 3).sum()
    assert (grown == 1).sum() >= (labels == 1).sum()


@pytest.mark.parametrize("missing", [(1,), (2,), (1, 2)])
def test_a_tumor_without_some_of_the_parts_leaves_nothing_behind(missing):
    affine = make_affine()
    labels = make_labels(affine)
    labels[np.isin(labels, missing)] = BRATS.surround
    edit = shifted(labels, affine, BRATS, (20.0, 0.0, 0.0))
    assert not set(missing) & set(np.unique(edit.labels))
    moved = centroid(tumor(edit.labels), affine) - centroid(tumor(labels), affine)
    assert moved == pytest.approx((20, 0, 0), abs=0.5)
    both = transform_tumor(labels, affine, BRATS, offset_mm=(20.0, 0.0, 0.0))
    assert np.array_equal(both.labels, edit.labels)


def test_chosen_parts_move_inside_those_that_stay():
    affine = make_affine()
    labels = make_labels(affine, radii=(4, 7, 15))
    result = shifted(labels, affine, BRATS, (4, 0, 0), parts=(1, 3)).labels
    np.testing.assert_array_equal(tumor(result), tumor(labels))
    np.testing.assert_allclose(centroid(result == 1, affine), (4, 0, 0), atol=0.5)
    wider = grow_tumor(labels, affine, BRATS, 4, parts=(2,)).labels
    np.testing.assert_array_equal(np.isin(wider, (1, 3)), np.isin(labels, (1, 3)))
    assert (wider == 2).sum() > 1.5 * (labels == 2).sum()


def test_what_falls_outside_is_counted_and_cut_off():
    affine = make_affine()
    labels = make_labels(affine)
    result = shifted(labels, affine, BRATS, (38, 0, 0))
    assert 0.2 < result.kept_fraction < 0.8
    assert result.lost_voxels == tumor(labels).sum() - tumor(result.labels).sum()


def test_labels_that_are_neither_brain_nor_tumor_never_change():
    extra = Label(9, "Electrode", (0, 0, 0), "")
    scheme = LabelScheme("with electrode", (*BRATS.labels, extra), 4, "air")
    affine = make_affine()
    labels = make_labels(affine)
    labels[ball(affine, (20, 0, 0), 6)] = 9
    result = shifted(labels, affine, scheme, (15, 0, 0)).labels
    np.testing.assert_array_equal(result == 9, labels == 9)
    assert tumor(result).sum() < tumor(labels).sum()


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda n, a: shifted(n, a, BRATS, (400, 0, 0)), "wholly outside"),
        (lambda n, a: shifted(n, a, BRATS, (0, 0, 41.5), parts=(1,)), "wholly outside the head or brain"),
        (lambda n, a: shifted(n, a, BRATS, (1, float("nan"), 0)), "three finite numbers"),
        (lambda n, a: grow_tumor(n, a, BRATS, -30), "nothing of the tumor; its deepest point is 1"),
        (lambda n, a: scaled(n, a, BRATS, 0), "cannot be scaled by 0"),
        (lambda n, a: scaled(n, a, BRATS, 1.5, parts=(4,)), "4 is not a tumor part"),
        (lambda n, a: scaled(np.where(n == 4, 0, n), a, BRATS, 1.5), "Check and fix the mask first"),
        (lambda n, a: scaled(np.where(n == 2, 77, n), a, BRATS, 1.5), "value 77"),
        (lambda n, a: scaled(n.astype(float), a, BRATS, 1.5), "whole numbers"),
        (lambda n, a: scaled(np.where(n > 0, np.uint8(4), n), a, BRATS, 1.5), "no tumor to edit"),
        (lambda n, a: scaled(n, np.zeros((4, 4)), BRATS, 1.5), "affine cannot be inverted"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(edit, sentence):
    affine = make_affine()
    with pytest.raises(InputError, match=sentence):
        edit(make_labels(affine), affine)


def test_signed_distance_lies_halfway_between_voxels_on_anisotropic_grids():
    slab = np.zeros((9, 9, 9), bool)
    slab[:, :, 4:] = True
    distance = signed_distance(slab, np.array([1.0, 1.0, 3.0]))
    np.testing.assert_allclose(distance[4, 4], [-3 * (k - 3.5) for k in range(9)], atol=1e-4)


def test_mapped_box_holds_all_moved_voxels():
    push = np.eye(4)
    push[:3, :3] *= 2
    push[:3, 3] = 0.5
    assert mapped_box(Box((1, 2, 3), (3, 4, 5)), push) == Box((2, 4, 6), (6, 8, 10))


def test_roles_come_from_code_or_name():
    assert nesting_order(BRATS) == (1, 3, 2)
    assert value_for(HEAD, "tumor") == 2
    with pytest.raises(InputError, match="no edema part; its tumor parts are: tumor"):
        value_for(HEAD, "edema")


def test_the_scale_series_runs_from_two_to_a_half_and_drops_tiny_tumors():
    affine = make_affine((1.5, 1.5, 1.5))
    labels = make_labels(affine, (0.9, 0.5, 0.2), radii=(11,), scheme=HEAD)
    for published in (False, True):
        series = list(scale_series(labels, affine, HEAD, published=published))
        assert [series[0][0], series[-1][0], len(series)] == ["scale-2.00", "scale-0.50", 20]
        for name, scaled in series:
            require_same_outline(labels, scaled, HEAD)
            ratio = (scaled == 2).sum() / (labels == 2).sum()
            assert ratio == pytest.approx(float(name[-4:]) ** 3, rel=0.2)
    tiny = make_labels(affine, radii=(4.6,), scheme=HEAD)
    kept = [name for name, _ in scale_series(tiny, affine, HEAD, published=True)]
    assert 0 < len(kept) < 20 and "scale-0.50" not in kept
    assert all((n == 2).sum() >= 30 for _, n in scale_series(tiny, affine, HEAD, published=True))


def test_the_shift_series_keeps_what_is_at_least_half_inside():
    affine = make_affine((1.5, 1.5, 1.5))
    labels = make_labels(affine, radii=(9,), scheme=HEAD)
    ours = dict(shift_series(labels, affine, HEAD))
    theirs = dict(shift_series(labels, affine, HEAD, published=True))
    assert "shift-+00+00+00" in ours and "shift-+00+00+00" not in theirs
    assert set(theirs) < set(ours) and 27 <= len(ours) < 729
    np.testing.assert_array_equal(ours["shift-+00+00+00"], labels)
    for name, shifted in ours.items():
        require_same_outline(labels, shifted, HEAD)
        assert (shifted == 2).sum() >= (labels == 2).sum() / 2, name
    moved = np.argwhere(ours["shift-+10-10+00"] == 2).mean(axis=0) - np.argwhere(labels == 2).mean(axis=0)
    np.testing.assert_allclose(moved, (10, -10, 0), atol=1e-9)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("series", [scale_series, shift_series])
def test_the_series_run_over_tissues_as_over_brain(series, published):
    affine = make_affine((1.5, 1.5, 1.5))
    plain = make_labels(affine, radii=(4, 6, 9))
    labels = with_tissues(plain, affine)
    ours = list(series(labels, affine, ANATOMY, published=published, sample=4))
    theirs = list(series(plain, affine, BRATS, published=published, sample=4))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.where(one > 4, 4, one), other)
        stayed = ~tumor(one) & ~tumor(labels)
        np.testing.assert_array_equal(one[stayed], labels[stayed])


def test_sampling_a_series_is_repeatable_and_without_doubles():
    affine = make_affine((1.5, 1.5, 1.5))
    labels = make_labels(affine, radii=(9,), scheme=HEAD)
    everything = {name for name, _ in shift_series(labels, affine, HEAD)}
    first, again, other = ([n for n, _ in shift_series(labels, affine, HEAD, sample=5, seed=s)] for s in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 5 and set(first) <= everything
