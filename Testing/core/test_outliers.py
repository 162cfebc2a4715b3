"""The outlier check: what stands out is flagged with a sentence, ordinary cases are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from facts_phantoms import AFFINE, OUTLINE, SIZE, case_facts, picture, with_images
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.geometry.volume import Volume
from medddpm.preparation.facts import CaseFacts, Flag, Geometry, Move
from medddpm.preparation.outliers import find_outliers, fingerprint, likenesses

COUNT = 12


def dataset(**others: CaseFacts) -> list[CaseFacts]:
    """Ordinary cases, of which some (``c3=...``) are others."""
    return [others.get(f"c{number}", case_facts(number)) for number in range(COUNT)]


def codes(flags: tuple[Flag, ...], case: str) -> set[str]:
    return {flag.code for flag in flags if flag.case == case}


def test_ordinary_cases_are_not_flagged() -> None:
    assert find_outliers(dataset()) == ()
    assert find_outliers([]) == ()
    assert find_outliers([case_facts(0)]) == ()


MOVE = Move("T1", 45.0, 3.0, 0.4, True)
THICK = Geometry((256, 256, 24), (0.9, 0.9, 6.0), "LPS")
TURNED = Geometry((192, 192, 144), (1.0, 1.0, 1.0), "RAS")
Change = Callable[[CaseFacts], CaseFacts]


@pytest.mark.parametrize(
    ("change", "code", "severity", "words"),
    [
        (
            lambda c: with_images(c, mean=0.9),
            "brightness",
            "warning",
            "The mean intensity of T1 is 95% of the full range, far",
        ),
        (
            lambda c: with_images(c, std=0.01),
            "contrast",
            "warning",
            "deviation of the intensity of T1 is 0.5% of the full",
        ),
        (
            lambda c: with_images(c, geometry=THICK),
            "voxels",
            "warning",
            "T1 and T2 images have voxels of 0.9 x 0.9 x 6 mm",
        ),
        (lambda c: with_images(c, geometry=TURNED), "axes", "info", "voxel axes RAS, unlike most (LPS)"),
        (lambda c: with_images(c, covered=0.93), "not-covered", "warning", "T1 image does not reach 7% of the brain"),
        (lambda c: with_images(c, surroundings=0.0), "bright-background", "warning", "not dark around the head (50%"),
        (
            lambda c: with_images(c, empty=0.4),
            "mask-outside-head",
            "warning",
            "40% of the brain in the mask is empty",
        ),
        (lambda c: with_images(c, tumor_empty=0.5), "tumor-outside-head", "warning", "50% of the tumor is empty"),
        (lambda c: with_images(c, moves=(MOVE,)), "large-move", "warning", "moved by 45 mm and 3 degrees onto T1"),
        (lambda c: mask(c, outline_ml=400.0), "outline-ml", "warning", "The volume of the brain is 400 mL, far from"),
        (lambda c: mask(c, extent_mm=(135.0, 290.0, 135.0)), "extent", "warning", "from front to back is 290 mm"),
        (lambda c: mask(c, tumor_ml=0.0), "no-tumor", "warning", "The mask has no tumor."),
        (lambda c: mask(c, tumor_ml=0.02), "tiny-tumor", "warning", "The tumor is tiny: 0.02 mL."),
        (
            lambda c: mask(c, lost_share=0.001, lost_ml=1.4),
            "lost-tissue",
            "info",
            "1.4 mL of the brain (0.1%) lie outside",
        ),
        (lambda c: mask(c, lost_share=0.1, lost_ml=140.0), "lost-tissue", "warning", "140 mL of the brain (10%)"),
        (
            lambda c: mask(c, lost_share=0.001, lost_ml=1.4, tumor_lost_ml=0.3),
            "lost-tissue",
            "warning",
            "cut off, 0.3 mL of the tumor among them",
        ),
        (
            lambda c: replace(c, findings=(("tumor-outside", "Half of it lies outside."),)),
            "tumor-outside",
            "warning",
            "Half of it lies outside.",
        ),
    ],
)
def test_what_is_wrong_is_flagged_and_nothing_else(change: Change, code: str, severity: str, words: str) -> None:
    flags = find_outliers(dataset(c5=change(case_facts(5))))
    assert {flag.case for flag in flags} == {"case-05"}
    assert {flag.code for flag in flags} == {code}
    assert flags[0].severity == severity
    assert words in flags[0].sentence and flags[0].sentence.endswith(".")


def mask(case: CaseFacts, **changes: object) -> CaseFacts:
    return replace(case, mask=replace(case.mask, **changes))  # type: ignore[arg-type]


def test_findings_that_were_only_tidied_up_are_no_flags() -> None:
    case = replace(case_facts(5), findings=(("specks", "One voxel."), ("no-outline", "It is made.")))
    assert find_outliers(dataset(c5=case)) == ()


def test_sinuses_are_no_sign_of_a_wrong_mask() -> None:
    head = with_images(mask(case_facts(0), kind="head"), empty=0.25)
    assert find_outliers([head]) == ()
    assert codes(find_outliers([with_images(case_facts(0), empty=0.25)]), "case-00") == {"mask-outside-head"}


def test_few_cases_are_not_compared() -> None:
    """Among three the median of deviations says nothing."""
    assert find_outliers([case_facts(0), case_facts(1), mask(case_facts(2), outline_ml=900.0)]) == ()


def test_healthy_datasets_are_not_full_of_warnings() -> None:
    flags = find_outliers([mask(case_facts(number), tumor_ml=0.0) for number in range(COUNT)])
    assert {flag.severity for flag in flags} == {"info"} and len(flags) == COUNT


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(COUNT)))
def test_the_order_of_the_cases_does_not_matter(order: list[int]) -> None:
    cases = dataset(c2=mask(case_facts(2), outline_ml=700.0), c7=replace(case_facts(7), fingerprint=picture(4)))
    expected = {(flag.case, flag.code, flag.sentence) for flag in find_outliers(cases)}
    shuffled = find_outliers([cases[number] for number in order])
    assert {(flag.case, flag.code, flag.sentence) for flag in shuffled} == expected
    assert {case for case, _, _ in expected} == {"case-02", "case-04", "case-07"}


# Duplicates


def test_equal_voxels_under_two_names_are_found() -> None:
    copy = replace(case_facts(3), id="case-09", patient="somebody else")
    flags = [flag for flag in find_outliers(dataset(c9=copy))]
    assert [(flag.case, flag.code, flag.others) for flag in flags] == [
        ("case-03", "duplicate", ("case-09",)),
        ("case-09", "duplicate", ("case-03",)),
    ]
    assert "has the same T1 and T2 images as case-09, which is listed as another patient" in flags[0].sentence


def test_one_shared_modality_is_enough() -> None:
    other = case_facts(9)
    mixed = replace(other, images=(other.images[0], replace(other.images[1], voxels="T2-3")))
    sentence = find_outliers(dataset(c9=mixed))[0].sentence
    assert "has the same T2 image as case-09" in sentence


def test_three_copies_are_all_named() -> None:
    flags = find_outliers(dataset(c1=replace(case_facts(0), id="case-01"), c2=replace(case_facts(0), id="case-02")))
    assert {flag.case for flag in flags} == {"case-00", "case-01", "case-02"}
    assert {flag.code for flag in flags} == {"duplicate"} and len(flags) == 4


@pytest.mark.parametrize(("patient", "severity"), [("another", "warning"), ("case-03", "info")])
def test_nearly_the_same_images_are_found(patient: str, severity: str) -> None:
    """Saved again with noise: no voxel is the same. Two visits of one patient are worth a note only."""
    near = replace(case_facts(9), fingerprint=picture(3, noise=0.1), patient=patient)
    flags = find_outliers(dataset(c9=near))
    assert {(flag.case, flag.code, flag.severity) for flag in flags} == {
        ("case-03", "near-duplicate", severity),
        ("case-09", "near-duplicate", severity),
    }


def test_mirror_images_are_found() -> None:
    flags = find_outliers(dataset(c9=replace(case_facts(9), fingerprint=picture(3, mirrored=True))))
    assert [(flag.case, flag.code) for flag in flags] == [("case-03", "mirrored"), ("case-09", "mirrored")]
    assert "looks like the mirror image of case-09" in flags[0].sentence


def test_one_mask_for_two_patients_is_found_and_empty_ones_are_no_duplicates() -> None:
    shared = mask(case_facts(9), voxels="mask-3")
    assert {flag.code for flag in find_outliers(dataset(c9=shared))} == {"same-mask"}
    empty = [mask(case_facts(number), voxels="empty", tumor_ml=0.0) for number in range(COUNT)]
    assert {flag.code for flag in find_outliers(empty)} == {"no-tumor"}


def test_two_modalities_that_are_one_file_are_found() -> None:
    case = case_facts(9)
    copied = replace(case, images=(case.images[0], replace(case.images[1], voxels=case.images[0].voxels)))
    [flag] = find_outliers(dataset(c9=copied))
    assert flag.code == "same-modalities" and "Its T1 and T2 images are the same" in flag.sentence


def test_likeness_does_not_depend_on_grid_place_and_axes() -> None:
    """The same head at 8 and 4 mm, shifted, with other voxel axes; and its mirror image."""
    random = np.random.default_rng(1)
    data = np.clip(random.normal(0, 0.5, SIZE), -1, 1).astype(np.float32)
    fine = np.kron(data, np.ones((2, 2, 2), np.float32))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (98.0, -32.0, 8.0)
    flipped = affine @ np.array([[-1, 0, 0, fine.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    texts = [
        fingerprint(Volume(data, AFFINE), OUTLINE),
        fingerprint(Volume(fine, affine), np.ones(fine.shape, bool)),
        fingerprint(Volume(np.ascontiguousarray(fine[::-1]), flipped), np.ones(fine.shape, bool)),
        fingerprint(Volume(np.ascontiguousarray(fine[::-1]), affine), np.ones(fine.shape, bool)),
    ]
    straight, mirrored = likenesses(texts)
    assert straight[0, 1] > 0.98 and straight[0, 2] > 0.98 and straight[0, 3] < 0.5
    assert mirrored[0, 3] > 0.98 and mirrored[0, 1] < 0.5
    np.testing.assert_allclose(straight, straight.T, atol=1e-5)


@pytest.mark.parametrize("text", ["", "no base64!", "AAAA"])
def test_no_fingerprint_is_like_nothing(text: str) -> None:
    straight, mirrored = likenesses([text, picture(1), text])
    assert straight[0].max() == 0 and mirrored[0].max() == 0 and straight[1, 1] == pytest.approx(1)
    assert fingerprint(Volume(np.zeros(SIZE, np.float32), AFFINE), np.zeros(SIZE, bool)) == ""
