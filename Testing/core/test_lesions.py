"""The generator of new lesions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.labels.morphology import erode
from medddpm.labels.scheme import load_scheme
from medddpm.masks import LesionSpec, add_lesion
from medddpm.masks.fields import largest_component

BRATS = load_scheme("brats")
HEAD = load_scheme("whole-head")
ANATOMY = load_scheme("glioma-anatomy")
FIXED = LesionSpec(center_mm=(25.0, 5.0, 10.0), diameter_mm=28.0, edema_mm=6.0)


def make_brain(spacing=(2.0, 2.0, 2.0), angle=0.0, value=4, radii=(60, 75, 55)) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid of ``radii`` mm around the world's origin, and its affine (turned about S by ``angle``)."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    shape = np.ceil(2.3 * np.max(radii) / np.array(spacing)).astype(int)
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    inside = ((points / np.array(radii)) ** 2).sum(axis=-1) <= 1
    return np.where(inside, np.uint8(value), np.uint8(0)), affine


def to_world(inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(inside).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]


def make_anatomy(spacing=(2.0, 2.0, 2.0), angle=0.0) -> tuple[np.ndarray, np.ndarray]:
    """The brain with a rim of fluid, cortex with narrow sulci, white matter, ventricles and a wide fissure."""
    labels, affine = make_brain(spacing, angle)
    points = np.moveaxis(np.indices(labels.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    radius = np.sqrt(((points / (60, 75, 55)) ** 2).sum(axis=-1))
    x, y, z = np.moveaxis(points, -1, 0)
    sulci = (radius > 0.75) & (np.mod(y, 18) < 2.5)
    fissure = (np.abs(z + 20) < 6) & (radius > 0.4) & (x > 0)
    ventricles = (np.abs(x) < 14) & (np.abs(y) < 25) & (np.abs(z - 5) < 8)
    layers = np.select([ventricles, fissure | sulci | (radius > 0.95), radius > 0.85], [6, 5, 7], default=9)
    return np.where(labels > 0, layers, 0).astype(np.uint8), affine


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32), spacing=st.sampled_from([(3.0, 3.0, 3.0), (2.5, 3.0, 4.0)]), count=st.integers(1, 2))
def test_a_lesion_grows_in_tissue_and_keeps_out_of_ventricles_and_wide_fluid(seed, spacing, count):
    labels, affine = make_anatomy(spacing, 20.0)
    result = add_lesion(labels, affine, ANATOMY, LesionSpec(count=count), seed)
    whole, core = np.isin(result.labels, (1, 2, 3)), np.isin(result.labels, (1, 3))
    np.testing.assert_array_equal(result.labels[~whole], labels[~whole])
    assert not np.isin(labels[whole], (0, 6)).any()
    assert (labels[(result.labels == 2) & ~core] != 5).all(), "edema spares fluid"
    assert not (core & erode(labels == 5, 5.0, spacing)).any(), "a core closes only what is narrow"
    for center in result.centers_mm:
        voxel = tuple(np.rint(np.linalg.inv(affine) @ [*center, 1.0]).astype(int)[:3])
        assert labels[voxel] in (7, 9)


@pytest.mark.slow
def test_fluid_does_not_make_lesions_small():
    labels, affine = make_anatomy((3.0, 3.0, 3.0))
    plain = np.where(labels > 0, np.uint8(4), labels)
    for seed in range(2):
        ours, theirs = (add_lesion(n, affine, s, seed=seed) for n, s in ((labels, ANATOMY), (plain, BRATS)))
        sizes = [np.isin(result.labels, (1, 3)).sum() for result in (ours, theirs)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.15)


def test_edema_hardly_enters_the_cortex():
    labels, affine = make_anatomy()
    result = add_lesion(labels, affine, ANATOMY, LesionSpec((35.0, 10.0, 15.0), 24.0, edema_mm=8.0), seed=1)
    edema = result.labels == 2
    cortex = labels == 7
    assert edema.sum() > 500
    assert (edema & cortex).sum() < 0.05 * edema.sum()


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    spacing=st.sampled_from([(3.0, 3.0, 3.0), (2.0, 3.0, 4.0)]),
    angle=st.sampled_from([0.0, 25.0]),
    irregularity=st.floats(0, 1),
)
def test_a_random_lesion_keeps_the_outline_and_its_parts_together(seed, spacing, angle, irregularity):
    labels, affine = make_brain(spacing, angle)
    result = add_lesion(labels, affine, BRATS, LesionSpec(irregularity=irregularity), seed)
    np.testing.assert_array_equal(result.labels == 0, labels == 0)
    core = np.isin(result.labels, (1, 3))
    assert core.any() and (largest_component(core) == core).all()
    assert set(np.unique(result.labels)) <= {0, 1, 2, 3, 4}
    whole = core | (result.labels == 2)
    assert (result.labels == 2).any() and largest_component(whole).sum() > 0.9 * whole.sum()
    voxel_ml = np.prod(spacing) * 1e-3
    assert sum(result.volumes_ml.values()) == pytest.approx(whole.sum() * voxel_ml)
    assert all(abs(c) < 80 for c in result.center_mm)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_lesion_and_another_seed_another():
    labels, affine = make_brain((3.0, 3.0, 3.0))
    first, again, other = (add_lesion(labels, affine, BRATS, seed=s) for s in (7, 7, 8))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.slow
def test_the_lesion_does_not_depend_on_the_grid():
    fine, fine_affine = make_brain((2.0, 2.0, 2.0))
    coarse, coarse_affine = make_brain((3.0, 2.5, 2.5), angle=15.0)
    for spec, seed in ((FIXED, 1), (LesionSpec(diameter_mm=25.0, edema_mm=5.0), 2)):
        a = add_lesion(fine, fine_affine, BRATS, spec, seed)
        b = add_lesion(coarse, coarse_affine, BRATS, spec, seed)
        np.testing.assert_allclose(a.center_mm, b.center_mm, atol=4.0)
        shift = np.subtract(a.center_mm, b.center_mm)
        # Each coarse voxel looks up the fine lesion at its place.
        voxels = np.argwhere(coarse > 0)
        points = voxels @ coarse_affine[:3, :3].T + coarse_affine[:3, 3] + shift
        index = np.rint((points - fine_affine[:3, 3]) / 2.0).astype(int)
        index = np.clip(index, 0, np.array(fine.shape) - 1)
        looked_up = a.labels[tuple(index.T)]
        there = b.labels[tuple(voxels.T)]
        for parts, least in (((1, 3), 0.9), ((1,), 0.8), ((1, 2, 3), 0.85)):
            one, two = np.isin(looked_up, parts), np.isin(there, parts)
            assert 2 * (one & two).sum() / (one.sum() + two.sum()) > least, (parts, seed)


def test_the_core_has_the_diameter_and_the_parts_are_nested():
    labels, affine = make_brain((1.5, 1.5, 1.5))
    result = add_lesion(labels, affine, BRATS, FIXED, seed=4)
    core = np.isin(result.labels, (1, 3))
    volume = core.sum() * 1.5**3
    assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(28, rel=0.03)
    np.testing.assert_allclose(to_world(core, affine), FIXED.center_mm, atol=7)
    necrosis, rim = result.labels == 1, result.labels == 3
    around = np.zeros_like(necrosis)
    for axis in range(3):
        around |= np.roll(necrosis, 1, axis) | np.roll(necrosis, -1, axis)
    border = around & ~necrosis
    assert rim[border].mean() > 0.85, "the rim has gaps, but few"
    assert 0.15 < necrosis.sum() / core.sum() < 0.7
    assert (result.labels == 2).sum() > 0.5 * core.sum()


@pytest.mark.slow
def test_irregularity_makes_the_surface_rough():
    labels, affine = make_brain((2.0, 2.0, 2.0))

    def surface(irregularity: float) -> int:
        spec = LesionSpec((25.0, 5.0, 10.0), 28.0, irregularity, 1.0, edema_mm=4.0)
        core = np.isin(add_lesion(labels, affine, BRATS, spec, seed=4).labels, (1, 3))
        return sum(int((core != np.roll(core, 1, axis)).sum()) for axis in range(3))

    assert surface(1.0) > 1.12 * surface(0.0)


@pytest.mark.slow
def test_parts_can_be_left_out():
    labels, affine = make_brain((3.0, 3.0, 3.0))

    def values(*parts: str) -> set[int]:
        spec = LesionSpec(FIXED.center_mm, 28.0, edema_mm=6.0, parts=parts)
        return set(np.unique(add_lesion(labels, affine, BRATS, spec).labels).tolist()) - {0, 4}

    assert values("enhancing", "edema") == {2, 3}
    assert values("necrotic", "edema") == {1, 2}
    assert values("edema") == {2}


def test_a_head_gets_one_tumor_in_its_brain():
    labels, affine = make_brain((3.0, 3.0, 3.0), value=1, radii=(80, 95, 110))
    for seed in range(4):
        result = add_lesion(labels, affine, HEAD, seed=seed)
        assert set(np.unique(result.labels)) == {0, 1, 2}
        points = np.argwhere(result.labels == 2) @ affine[:3, :3].T + affine[:3, 3]
        assert (((points / (80 - 10, 95 - 10, 110 - 10)) ** 2).sum(axis=-1) < 1).all(), "not in scalp or skull"
        assert points[:, 2].mean() > -10, "not in the neck"


@pytest.mark.slow
def test_several_lesions_have_separate_cores():
    labels, affine = make_brain((3.0, 3.0, 3.0))
    result = add_lesion(labels, affine, BRATS, LesionSpec(diameter_mm=18.0, edema_mm=3.0, count=3), seed=5)
    assert len(result.centers_mm) == 3
    core = np.isin(result.labels, (1, 3))
    sizes = []
    while core.any():
        piece = largest_component(core)
        sizes.append(int(piece.sum()) * 0.027)
        core &= ~piece
    one = np.pi / 6 * 1.8**3
    # Cores may touch, never overlap: each keeps its volume.
    assert sum(sizes) == pytest.approx(3 * one, rel=0.1)


def test_an_old_core_is_not_painted_over():
    labels, affine = make_brain((3.0, 3.0, 3.0))
    first = add_lesion(labels, affine, BRATS, FIXED, seed=1).labels
    near = LesionSpec((5.0, 5.0, 10.0), 28.0, edema_mm=6.0)
    second = add_lesion(first, affine, BRATS, near, seed=2).labels
    old = np.isin(first, (1, 3))
    np.testing.assert_array_equal(second[old], first[old])


def test_a_lesion_at_the_surface_is_pushed_inward_not_cut():
    labels, affine = make_brain((2.0, 2.0, 2.0))
    spec = LesionSpec((58.0, 0.0, 0.0), 24.0, edema_mm=3.0)
    result = add_lesion(labels, affine, BRATS, spec, seed=1)
    volume = np.isin(result.labels, (1, 3)).sum() * 8
    assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(24, rel=0.06)


def test_a_lesion_smaller_than_a_voxel_is_one_voxel():
    labels, affine = make_brain((4.0, 4.0, 4.0))
    result = add_lesion(labels, affine, BRATS, LesionSpec((20.0, 0.0, 0.0), 2.0, parts=("enhancing",)))
    assert (result.labels == 3).sum() == 1


@pytest.mark.parametrize(
    ("scheme", "make_spec", "sentence"),
    [
        (BRATS, lambda: LesionSpec((500.0, 0.0, 0.0)), r"\(500, 0, 0\) mm lies outside"),
        (BRATS, lambda: LesionSpec(parts=("calcified",)), "no calcified part"),
        (BRATS, lambda: LesionSpec(parts=()), "at least one part"),
        (BRATS, lambda: LesionSpec(diameter_mm=500), "diameter 500; it must be 2-120 mm"),
        (BRATS, lambda: LesionSpec(irregularity=2), "irregularity 2"),
        (BRATS, lambda: LesionSpec(count=0), "count 0"),
        (BRATS, lambda: LesionSpec(center_mm=(0.0, float("nan"), 0.0)), "center"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(scheme, make_spec, sentence):
    labels, affine = make_brain((4.0, 4.0, 4.0))
    with pytest.raises(InputError, match=sentence):
        add_lesion(labels, affine, scheme, make_spec())


@pytest.mark.parametrize("center", [(0.0, 0.0, 5.0), (40.0, 0.0, -20.0)])
def test_fluid_is_no_center_of_a_lesion(center):
    labels, affine = make_anatomy((4.0, 4.0, 4.0))
    with pytest.raises(InputError, match="in fluid"):
        add_lesion(labels, affine, ANATOMY, LesionSpec(center))


def test_a_scheme_without_the_part_says_which_it_has():
    labels, affine = make_brain((4.0, 4.0, 4.0), value=1)
    with pytest.raises(InputError, match="'whole-head' has no edema part; its tumor parts are: tumor"):
        add_lesion(labels, affine, HEAD, LesionSpec(parts=("edema",)))


def test_a_core_larger_than_the_brain_has_no_room():
    labels, affine = make_brain((4.0, 4.0, 4.0), radii=(30, 30, 30))
    with pytest.raises(InputError, match="A core of 80 mm has no room at this center"):
        add_lesion(labels, affine, BRATS, LesionSpec((0.0, 0.0, 0.0), 80.0, edema_mm=2.0))


def test_a_mask_full_of_tumor_has_no_room():
    labels, affine = make_brain((4.0, 4.0, 4.0))
    full = np.where(labels > 0, np.uint8(3), labels)
    full[tuple(np.argwhere(labels)[0])] = 4
    with pytest.raises(InputError, match="no room for a new lesion"):
        add_lesion(full, affine, BRATS)
