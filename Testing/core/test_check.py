"""The mask check: every finding is triggered, said, and gone after the fix."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_phantoms import SHAPE, SPACING, affine, anatomy, ball, brain, config, head, mask, med_ddpm, tumor, whole_head
from medddpm.anatomy.placement import brain_around
from medddpm.cli import check as _registers_the_command  # noqa: F401
from medddpm.cli.commands import app
from medddpm.config import MaskPrior
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Mask, Volume, bounding_box
from medddpm.labels.check import check_mask, mend_mask
from medddpm.labels.conventions import parse_labels
from medddpm.labels.morphology import erode
from medddpm.labels.outline import brain_from_image, brain_in_head, brain_in_scan, ellipsoid, head_from_image
from typer.testing import CliRunner

BRATS, HEAD, ANATOMY = config("brats"), config("whole-head"), config("glioma-anatomy")


def codes(findings) -> list[str]:
    return [f.code for f in findings]


def assert_fixed(source: Mask, model, code: str, image: Volume | None = None) -> np.ndarray:
    """The finding is there and fixable; after the fix it is gone, the mask is usable and a second fix does nothing."""
    before = check_mask(source, model, image)
    found = [f for f in before.findings if f.code == code]
    assert found and found[0].fixable and found[0].fix, before
    original = source.volume.data.copy()
    fixed, done, _ = mend_mask(source, model, image)
    assert np.array_equal(source.volume.data, original, equal_nan=original.dtype.kind == "f")
    assert code in codes(done)
    bare = Mask(fixed.volume)  # as if read again from a file without names
    after = check_mask(bare, model, image)
    assert after.usable, after
    assert code not in codes(after.findings)
    again, more, _ = mend_mask(bare, model, image)
    assert np.array_equal(again.volume.data, fixed.volume.data)
    assert not more
    assert fixed.volume.data.dtype == np.uint8
    assert fixed.volume.data.max() <= max(model.scheme.values)
    return fixed.volume.data


def stripped_image() -> Volume:
    rng = np.random.default_rng(0)
    return Volume(np.where(brain(), rng.uniform(50, 255, SHAPE), 0).astype(np.float32), affine())


def head_image() -> Volume:
    rng = np.random.default_rng(0)
    image = rng.rayleigh(3, SHAPE) + np.where(head(), rng.uniform(80, 255, SHAPE), 0)
    return Volume(image.astype(np.float32), affine())


@pytest.mark.parametrize(
    ("labels", "model", "shape", "severity", "said"),
    [
        (whole_head(), HEAD, (64, 80, 48), "warning", "is cut off"),
        (med_ddpm(), BRATS, (32, 64, 64), "info", "times the time"),
    ],
)
def test_a_grid_that_cuts_the_head_is_a_warning_and_a_larger_one_is_told(labels, model, shape, severity, said):
    smaller = dataclasses.replace(model, grid=dataclasses.replace(model.grid, shape=shape))
    (found,) = (f for f in check_mask(mask(labels), smaller).findings if f.code == "grid")
    assert found.severity == severity and said in found.sentence


@pytest.mark.parametrize(
    ("labels", "model"), [(med_ddpm(), BRATS), (whole_head(), HEAD), (anatomy(), ANATOMY), (med_ddpm(), ANATOMY)]
)
def test_a_good_mask_gives_nothing_but_its_convention(labels, model):
    result = check_mask(mask(labels), model)
    assert codes(result.findings) == ["convention"]
    fixed, done, _ = mend_mask(mask(labels), model)
    assert np.array_equal(fixed.volume.data, labels)
    assert not done
    assert {s.value for s in fixed.segments} == set(np.unique(labels)) - {0}


def test_missing_brain_is_made_from_the_stripped_image():
    fixed = assert_fixed(mask(tumor(4)), BRATS, "no-outline", stripped_image())
    assert np.array_equal(fixed > 0, brain())
    assert np.array_equal(fixed, med_ddpm())


def test_missing_head_is_made_from_the_image():
    fixed = assert_fixed(mask(tumor(4)), HEAD, "no-outline", head_image())
    overlap = 2 * np.count_nonzero((fixed > 0) & head()) / (np.count_nonzero(fixed) + head().sum())
    assert overlap > 0.97
    assert np.array_equal(fixed == 2, tumor() > 0)


def test_a_head_whose_air_was_set_to_zero_is_no_skull_stripped_brain():
    bare, whole = (np.where(shape, 100.0, 0.0) for shape in (brain(), head()))
    assert np.array_equal(brain_from_image(bare, (SPACING,) * 3), brain())
    assert brain_from_image(whole, (SPACING,) * 3) is None


def test_missing_brain_is_estimated_in_the_image_of_a_head():
    source = mask(tumor(4))
    fixed = assert_fixed(source, BRATS, "no-outline", head_image())
    sentence = next(f for f in check_mask(source, BRATS, head_image()).findings if f.code == "no-outline").fix
    assert "not a skull-stripped brain" in sentence
    assert not (fixed > 0)[~head()].any()
    assert 800 < np.count_nonzero(fixed) * 0.064 < 2200


@pytest.mark.parametrize(("gray", "white", "fluid"), [(90, 130, 30), (120, 80, 220)])
def test_the_brain_is_found_in_a_whole_head_by_its_brightness(gray, white, fluid):
    """T1 and T2: a brain off the middle, fluid and dark skull around it, fat, a neck."""
    shape, affine = (90, 110, 110), np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -90, -110, -130
    within = lambda center, half: ellipsoid(shape, affine, center, half)  # noqa: E731
    brain = within((6, 0, 10), [72, 84, 62])
    neck = within((0, -10, -100), [55, 60, 90])
    head = within((0, 0, 5), [88, 98, 80]) | neck
    image = np.where(head, 200.0, 0.0)  # fat and muscle
    image[within((6, 0, 10), [80, 92, 70])] = 5  # skull
    image[within((6, 0, 10), [75, 87, 65])] = fluid
    image[brain] = gray
    image[within((6, 0, 10), [64, 76, 54])] = white
    image[within((16, 0, 15), [8, 30, 10]) | within((-4, 0, 15), [8, 30, 10])] = fluid
    image[within((6, -10, -60), [9, 9, 40])] = gray  # the brainstem, which leads to the neck
    image += np.random.default_rng(0).normal(0, 3, shape) * head
    dice = lambda a: 2 * np.count_nonzero(a & brain) / (np.count_nonzero(a) + np.count_nonzero(brain))  # noqa: E731
    found, seen = brain_in_scan(image, head_from_image(image, (2.0, 2.0, 2.0)), affine)
    assert seen and dice(found) > 0.95 and dice(brain_in_head(head, affine)) < 0.92
    blank = np.where(head, 100.0, 0.0)
    estimate, seen = brain_in_scan(blank, head, affine)
    assert not seen and np.array_equal(estimate, brain_in_head(head, affine))


@pytest.mark.parametrize("model", [BRATS, HEAD])
def test_missing_outline_without_an_image_holds_the_tumor_and_says_what_it_is(model):
    labels = tumor(4)
    source = mask(np.roll(labels, (6, -8, 0), (0, 1, 2)))
    fixed = assert_fixed(source, model, "no-outline")
    assert np.isin(fixed, model.scheme.tumor_values).sum() == (labels > 0).sum()
    fix = next(f for f in check_mask(source, model).findings if f.code == "no-outline").fix
    assert "ellipsoid" in fix and "give the MRI" in fix


def test_a_tumor_alone_gets_a_brain_of_the_bank():
    source = mask(np.roll(tumor(4), (6, -8, 0), (0, 1, 2)))
    fixed, done, _ = mend_mask(source, BRATS, around=brain_around)
    assert check_mask(fixed, BRATS).usable
    brain_ml = np.count_nonzero(fixed.volume.data) * 0.064
    assert 1000 < brain_ml < 1700
    fix = next(f for f in done if f.code == "no-outline").fix
    assert "is a guess" in fix and "give the MRI" in fix and "ellipsoid" not in fix
    np.testing.assert_array_equal(np.isin(fixed.volume.data, (1, 2, 3)), source.volume.data > 0)
    outline = fixed.volume.data > 0
    sphere = ellipsoid(outline.shape, source.volume.affine, (0.0, 0.0, 0.0), [70.0, 85.0, 67.0])
    assert 2 * (outline & sphere).sum() / (outline.sum() + sphere.sum()) < 0.93  # it has the shape of a brain
    assert "head" in next(f for f in mend_mask(source, HEAD, around=brain_around)[1] if f.code == "no-outline").fix


def test_missing_brain_is_the_hull_of_what_is_there():
    labels = np.zeros(SHAPE, np.uint8)
    shell = brain() & ~ball((0, 0, 0), 50)
    labels[shell] = 50
    labels[tumor(4) > 0] = 2
    result = check_mask(mask(labels), BRATS, labels={2: 2, 50: 1})
    assert "hull" in next(f for f in result.findings if f.code == "no-outline").fix
    fixed, *_ = mend_mask(mask(labels), BRATS, labels={2: 2, 50: 1})
    assert fixed.volume.data[24, 26, 24] > 0


def test_head_for_a_brain_model():
    fixed = assert_fixed(mask(whole_head()), BRATS, "wrong-outline")
    assert not (fixed > 0)[~head()].any()
    assert np.count_nonzero(fixed) < 0.65 * head().sum()
    assert np.array_equal(fixed == 3, whole_head() == 2)


def test_brain_for_a_head_model():
    fixed = assert_fixed(mask(med_ddpm()), HEAD, "wrong-outline")
    assert (fixed > 0)[brain()].all()
    assert np.count_nonzero(fixed) > 1.4 * brain().sum()


def test_brain_map_becomes_the_brain():
    labels = np.zeros(SHAPE, np.int32)
    labels[brain()] = np.resize([2, 3, 4, 7, 8, 10, 11, 12, 13, 16, 41, 42], int(brain().sum()))
    labels[20:22, 20:30, 20:24] = 0  # fluid, unlabeled as in FreeSurfer's maps
    fixed = assert_fixed(mask(labels), BRATS, "structures")
    assert np.array_equal(fixed > 0, brain())


def test_empty_masks():
    empty = mask(np.zeros(SHAPE, np.uint8))
    result = check_mask(empty, BRATS)
    assert codes(result.errors) == ["empty"] and not result.fixable
    assert not mend_mask(empty, BRATS)[0].volume.data.any()
    fixed = assert_fixed(empty, BRATS, "empty", stripped_image())
    assert np.array_equal(fixed, np.where(brain(), 4, 0))


def test_no_tumor_is_said_and_is_no_error():
    result = check_mask(mask(np.where(brain(), 4, 0).astype(np.uint8)), BRATS)
    assert result.usable
    assert next(f for f in result.findings if f.code == "no-tumor").severity == "info"


def test_tumor_outside_is_clipped():
    labels = med_ddpm()
    labels[2:5, 2:5, 2:5] = 3
    fixed = assert_fixed(mask(labels), BRATS, "tumor-outside")
    assert np.array_equal(fixed, med_ddpm())
    finding = next(f for f in check_mask(mask(labels), BRATS).findings if f.code == "tumor-outside")
    assert "27 voxels (1.7 mL)" in finding.sentence


def test_a_tumor_at_the_border_of_the_brain_stays():
    labels = med_ddpm()
    labels[ball((0, -75, 0), 25) & brain()] = 2
    assert codes(check_mask(mask(labels), BRATS).findings) == ["convention"]


def test_nearly_whole_numbers_are_rounded():
    labels = med_ddpm() + np.float32(0.004) * (med_ddpm() > 0)
    assert np.array_equal(assert_fixed(mask(labels), BRATS, "fractions"), med_ddpm())


def test_interpolated_labels_take_their_neighbors():
    labels = med_ddpm().astype(np.float32)
    inner = labels.copy()
    inner[1:] = (labels[1:] + labels[:-1]) / 2  # half-way values between 0 and 4 look like labels 2
    inner[np.rint(inner) == inner] = labels[np.rint(inner) == inner]
    source = inner * 1.0
    source[(inner == 2) & (labels == 4)] = 1.9
    fixed = assert_fixed(mask(source), BRATS, "fractions")
    assert np.mean(fixed == med_ddpm()) > 0.99


def test_probabilities_are_cut_at_one_half():
    probability = np.clip(
        1.5 - np.sqrt(sum((i - c) ** 2 for i, c in zip(np.indices(SHAPE), (24, 26, 24), strict=True))) / 6, 0, 1
    )
    fixed = assert_fixed(mask(probability.astype(np.float32)), HEAD, "probabilities")
    where = bounding_box(fixed == 2)  # on a grid that was extended to hold a head
    assert np.array_equal((fixed == 2)[where], probability[bounding_box(probability >= 0.5)] >= 0.5)


def test_a_gray_image_is_no_mask():
    for image in (head_image().data, np.rint(head_image().data).astype(np.int16)):
        result = check_mask(mask(image), BRATS)
        assert codes(result.errors) == ["gray-image"]
        assert not result.fixable


def test_nan_and_negative_values_become_background():
    labels = med_ddpm().astype(np.float32)
    labels[0, 0, :5] = np.nan
    assert np.array_equal(assert_fixed(mask(labels), BRATS, "not-a-number"), med_ddpm())
    labels = med_ddpm().astype(np.int16)
    labels[0, 0, :5] = -3
    assert np.array_equal(assert_fixed(mask(labels), BRATS, "negative-values"), med_ddpm())
    assert "down to -3, in 5 voxels" in check_mask(mask(labels), BRATS).findings[0].sentence


def test_unknown_values_become_brain_inside_and_nothing_outside():
    labels = med_ddpm()
    labels[ball((-30, 0, 0), 10)] = 17
    labels[1, 1, 1] = 17
    assert np.array_equal(assert_fixed(mask(labels), BRATS, "unknown-values"), med_ddpm())


def test_specks():
    labels = med_ddpm()
    labels[10, 26, 24] = 3
    assert labels[9, 26, 24] == 4
    assert np.array_equal(assert_fixed(mask(labels), BRATS, "specks"), med_ddpm())
    labels[9, 26, 24] = 3
    assert "specks" not in {finding.code for finding in check_mask(mask(labels), BRATS).findings}


def test_islands_and_a_second_head():
    labels = med_ddpm()
    labels[1:3, 1:3, 1:3] = 4
    assert np.array_equal(assert_fixed(mask(labels), BRATS, "islands"), med_ddpm())
    two = np.concatenate([med_ddpm(), np.where(brain(), 4, 0).astype(np.uint8)])
    finding = next(f for f in check_mask(mask(two), BRATS).findings if f.code == "islands")
    assert finding.severity == "warning" and "two" in finding.sentence


def test_cavities_are_filled():
    labels = med_ddpm()
    labels[ball((-25, 0, 0), 12)] = 0
    assert np.array_equal(assert_fixed(mask(labels), BRATS, "cavities"), med_ddpm())


@pytest.mark.parametrize(
    ("factor", "word"), [(0.1, "centimeters"), (10.0, "tenths of a millimeter"), (0.001, "meters")]
)
@pytest.mark.parametrize("labels", [med_ddpm(), tumor(4)], ids=["whole", "tumor only"])
def test_spacing_in_the_wrong_unit(factor, word, labels):
    result = check_mask(mask(labels, affine(4.0 * factor)), BRATS)
    assert codes(result.errors) == ["spacing-units"]
    assert word in result.errors[0].sentence and not result.fixable


def test_size_against_adults_and_against_the_training_masks():
    small = check_mask(mask(med_ddpm(), affine(2.5)), BRATS)
    assert {"outline-size", "outline-extent"} <= set(codes(small.findings)) and small.usable
    prior = MaskPrior((500.0, 3000.0), (0.1, 2.0), ((50.0, 300.0),) * 3)
    findings = check_mask(mask(med_ddpm()), config("brats", prior)).findings
    assert codes(findings) == ["convention", "tumor-size"]
    assert "this model was trained on (0.1 to 2 mL)" in findings[1].sentence


@pytest.mark.parametrize(
    ("flips", "said"),
    [((1, -1, 1), "front and back"), ((1, 1, -1), "upside down"), ((1, -1, -1), "and so do top and bottom")],
)
def test_a_brain_that_is_turned(flips, said):
    findings = check_mask(mask(med_ddpm(), affine(flips=flips)), BRATS).findings
    assert codes(findings) == ["convention", "orientation"]
    assert said in findings[1].sentence


def test_left_and_right_cannot_be_told():
    assert codes(check_mask(mask(med_ddpm(), affine(flips=(-1, 1, 1))), BRATS).findings) == ["convention"]


def test_a_head_upside_down_and_a_brain_with_swapped_axes():
    assert "orientation" in codes(check_mask(mask(whole_head(), affine(flips=(1, 1, -1))), HEAD).findings)
    swapped = affine()[:, [1, 0, 2, 3]]
    findings = check_mask(mask(med_ddpm(), swapped), BRATS).findings
    assert any(f.code == "orientation" and "wider" in f.sentence for f in findings)


def test_image_on_another_grid_is_resampled():
    fine = stripped_image()
    data = np.repeat(np.repeat(np.repeat(fine.data, 2, 0), 2, 1), 2, 2)[::-1]
    matrix = affine(2.0, (-1, 1, 1))
    matrix[:3, 3] = affine()[:3, 3] - 1.0
    matrix[0, 3] = affine()[0, 3] - 1.0 + 2.0 * (data.shape[0] - 1)
    result = check_mask(mask(tumor(4)), BRATS, Volume(data, matrix))
    finding = next(f for f in result.findings if f.code == "image-space")
    assert finding.severity == "info" and "96 x 104 x 96" in finding.sentence
    fixed, *_ = mend_mask(mask(tumor(4)), BRATS, Volume(data, matrix))
    overlap = (
        2 * np.count_nonzero((fixed.volume.data > 0) & brain()) / (np.count_nonzero(fixed.volume.data) + brain().sum())
    )
    assert overlap > 0.95


def test_image_elsewhere_is_an_error():
    far = affine()
    far[0, 3] += 5000
    result = check_mask(mask(med_ddpm()), BRATS, Volume(stripped_image().data, far))
    assert codes(result.errors) == ["image-space"]
    assert "5000.0 mm apart" in result.errors[0].sentence


def test_image_of_another_patient():
    moved = dataclasses.replace(stripped_image(), data=np.roll(stripped_image().data, 14, axis=1))
    assert "image-mismatch" in codes(check_mask(mask(med_ddpm()), BRATS, moved).findings)
    assert "image-mismatch" not in codes(check_mask(mask(med_ddpm()), BRATS, stripped_image()).findings)


def test_ambiguity_is_a_warning_with_the_way_out():
    findings = check_mask(mask((tumor() > 0).astype(np.uint8)), BRATS).findings
    doubts = [f for f in findings if f.code == "assumption"]
    assert doubts and all(f.severity == "warning" and "labels" in f.sentence for f in doubts)


def scribbled(labels: np.ndarray, seed: int, values: list[int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = labels.copy()
    for _ in range(6):
        center, radius = rng.integers(0, 48, 3), rng.integers(1, 6)
        spot = tuple(slice(max(c - radius, 0), c + radius) for c in center)
        labels[spot] = rng.choice(values)
    return labels


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32 - 1),
    base=st.sampled_from([med_ddpm(), tumor(4), whole_head(), anatomy()]),
    model=st.sampled_from([BRATS, HEAD, ANATOMY]),
)
@settings(max_examples=20, deadline=None)
def test_fixing_twice_is_fixing_once(seed, base, model):
    labels = scribbled(base, seed, [0, 1, 2, 4, 6, 9] if base.max() > 4 else [0, 1, 2, 4])
    fixed, *_ = mend_mask(mask(labels), model)
    again, more, _ = mend_mask(fixed, model)
    assert not more
    assert np.array_equal(again.volume.data, fixed.volume.data)
    assert set(np.unique(fixed.volume.data)) <= {0, *model.scheme.values}


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_repairs_are_those_of_brats_and_leave_tissues_alone(seed):
    labels = scribbled(anatomy(), seed, list(range(12)))
    (ours, said, _), (theirs, same, _) = (mend_mask(mask(labels), model) for model in (ANATOMY, BRATS))
    ours = ours.volume.data
    assert np.array_equal(np.where(ours > 4, 4, ours), theirs.volume.data)
    assert codes(said) == codes(same)
    kept = (labels > 4) & (ours > 0)
    assert np.array_equal(ours[kept], labels[kept])


def test_a_speck_in_a_tissue_becomes_that_tissue():
    labels = anatomy()
    labels[12, 26, 24] = 3
    assert labels[11, 26, 24] == labels[13, 26, 24] == 9
    assert np.array_equal(assert_fixed(mask(labels), ANATOMY, "specks"), anatomy())


def test_a_few_tissues_without_a_brain_get_one_around_them():
    labels = np.where(np.isin(anatomy(), (6, 8)), anatomy(), tumor(4))
    fixed = assert_fixed(mask(labels), ANATOMY, "no-outline", stripped_image())
    expected = np.where(brain() & (labels == 0), 4, labels)
    assert np.array_equal(fixed, np.where(labels == 4, 3, expected))
    alone = assert_fixed(mask(labels), ANATOMY, "no-outline")
    assert np.array_equal(alone[labels > 0], fixed[labels > 0])
    assert np.count_nonzero(alone == 4) > np.count_nonzero(labels)


def test_a_brain_map_becomes_tissues_with_fluid_between_them():
    labels = np.zeros(SHAPE, np.int32)
    labels[brain()] = np.resize([2, 3, 4, 7, 8, 10, 11, 12, 13, 16, 41, 42], int(brain().sum()))
    tissues = {2: 9, 3: 7, 4: 6, 7: 9, 8: 10, 10: 8, 11: 8, 12: 8, 13: 8, 16: 11, 41: 9, 42: 7}
    gap = (slice(20, 22), slice(20, 30), slice(20, 24))
    labels[gap] = 0
    fixed = assert_fixed(mask(labels), ANATOMY, "structures")
    assert (fixed[gap] == 5).all()
    assert all((fixed[labels == number] == value).all() for number, value in tissues.items())
    findings = check_mask(mask(labels), ANATOMY).findings
    assert any(f.code == "convention" and "16 -> brainstem" in f.sentence for f in findings)


def test_tissues_do_not_hide_that_a_tumor_lies_outside():
    labels = anatomy()
    labels[2:5, 2:5, 2:5] = 3
    assert np.array_equal(assert_fixed(mask(labels), ANATOMY, "tumor-outside"), anatomy())


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text(BRATS.to_json(), encoding="utf-8")
    return folder


def run(*arguments: object):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_command_tells_fixes_and_writes(tmp_path, model_folder):
    source, image, out = tmp_path / "maské.nii.gz", tmp_path / "t1.nii.gz", tmp_path / "fixed.nii.gz"
    write_image(source, tumor(4), affine(), "mask")
    write_image(image, stripped_image().data, affine(), "image")
    first = run(source, "--model", model_folder)
    assert first.exit_code == 2
    assert "Error: The mask has no brain label (4)" in first.output and "--fix OUT.nii.gz" in first.output
    second = run(source, "--model", model_folder, "--image", image, "--fix", out)
    assert second.exit_code == 0, second.output
    assert "Fixed: The mask has no brain label (4)" in second.output
    written = read_mask(out)
    assert np.array_equal(written.volume.data, med_ddpm())
    assert np.allclose(written.volume.affine, affine())
    assert run(out, "--model", model_folder).exit_code == 0


def test_command_writes_nothing_for_what_cannot_be_fixed(tmp_path, model_folder):
    source, out = tmp_path / "empty.nii.gz", tmp_path / "fixed.nii.gz"
    write_image(source, np.zeros(SHAPE, np.uint8), affine(), "mask")
    result = run(source, "--model", model_folder, "--fix", out)
    assert result.exit_code == 2
    assert "Error: The mask is empty" in result.output
    assert not out.exists()


def test_command_takes_the_users_labels(tmp_path, model_folder):
    source, out = tmp_path / "mask.nii.gz", tmp_path / "fixed.nii.gz"
    write_image(source, (tumor(4) > 0).astype(np.uint8), affine(), "mask")
    assert run(source, "--model", model_folder, "--labels", "1=2", "--fix", out).exit_code == 0
    assert np.array_equal(read_mask(out).volume.data == 2, tumor(4) > 0)
    with pytest.raises(InputError, match="not understood"):
        parse_labels("1:2")


def test_command_takes_the_users_word_for_a_mask_that_looks_interpolated(tmp_path, model_folder):
    labels = med_ddpm()
    labels[brain() & ~erode(brain(), 4.0, (4.0,) * 3)] = 2
    source = tmp_path / "shells.nii.gz"
    write_image(source, labels, affine(), "a mask with a rim")
    assert run(source, "--model", model_folder).exit_code == 2
    out = tmp_path / "out.nii.gz"
    told = run(source, "--model", model_folder, "--labels", "1=1,2=2,3=3,4=4", "--fix", out)
    assert told.exit_code == 0 and "2 -> peritumoral edema" in told.output
    assert np.array_equal(read_mask(out).volume.data, labels)
