"""Numbers without names: which public numbering they follow, what geometry decides, and what is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_phantoms import SHAPE, affine, ball, brain, config, mask, med_ddpm, tumor
from medddpm.anatomy.placement import brain_around
from medddpm.errors import InputError
from medddpm.geometry.nifti import write_image
from medddpm.labels.check import check_mask
from medddpm.labels.conventions import parse_labels
from medddpm.labels.morphology import erode
from medddpm.labels.numbers import OTHERS, USUAL, exposure, scaled
from medddpm.labels.recognize import recognize
from medddpm.labels.scheme import load_scheme
from medddpm.labels.together import recognize_together
from medddpm.preparation.plan import labels_of_source
from medddpm.progress import SilentReporter
from medddpm.synthesis.pipeline import labels_together

BRATS, HEAD = load_scheme("brats"), load_scheme("whole-head")
MODEL = config("brats")


def numbered(table: dict[int, int]) -> np.ndarray:
    """The nested tumor (necrosis 1, edema 2, enhancing 3) in other numbers; those without an entry are left out."""
    labels = tumor(3)
    return np.array([0, *(table.get(value, 0) for value in (1, 2, 3))], np.int16)[labels]


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ({1: 1, 2: 2, 3: 3}, "brats-2023"),
        ({1: 1, 2: 2, 3: 4}, "brats"),
        ({1: 2, 2: 1, 3: 3}, "decathlon"),
        ({1: 2, 2: 4, 3: 1}, "brats-ped"),
        ({1: 3, 2: 4, 3: 1}, "brats-ped"),
        ({1: 2, 2: 3, 3: 1}, "deepbratumia"),
        ({1: 1, 2: 2}, "brats-2023"),
        ({2: 4, 3: 2}, "brats-ped"),
    ],
)
@pytest.mark.parametrize("spacing", [0.5, 4.0])
def test_what_lies_around_the_rest_is_edema(table, name, spacing):
    labels = numbered(table)
    found = recognize(mask(labels, affine(spacing)), BRATS)
    assert found.convention.name == name
    assert {v: found.convention.roles[v] for v in found.mapping if found.mapping[v] == 2} == {table[2]: "edema"}
    usual = name in {convention.name for convention in USUAL}
    assert bool(found.assumptions) != usual
    if not usual:
        settled = ",".join(f"{value}={target}" for value, target in sorted(found.mapping.items()))
        assert f"the labels {settled}." in found.assumptions[0]
        assert "BraTS" in found.assumptions[0]


@given(rim=st.integers(0, 2**32 - 1), flip=st.booleans())
@settings(max_examples=20, deadline=None)
def test_ragged_edema_with_gaps_is_still_edema(rim, flip):
    labels = tumor(3)
    gone = np.random.default_rng(rim).random(SHAPE) < 0.3
    labels[(labels == 2) & gone] = 0
    if flip:
        labels = np.array([0, 2, 1, 3], np.uint8)[labels]
    assert recognize(mask(labels), BRATS).mapping == ({1: 2, 2: 1, 3: 3} if flip else {1: 1, 2: 2, 3: 3})


def test_a_lesion_of_one_part_tells_nothing_of_what_lies_around():
    labels = tumor(3)
    labels[ball((-30, -10, 15), 9)] = 3
    shares = exposure(labels, (1, 2, 3))
    assert shares[2] > 0.5 and shares[1] == shares[3] == 0


@pytest.mark.parametrize("table", [{1: 2, 2: 1}, {2: 1, 3: 2}])
def test_where_nothing_decides_the_program_asks(table):
    result = check_mask(mask(numbered(table)), MODEL, around=brain_around)
    assert not result.usable and not result.fixable
    (error,) = result.errors
    assert error.code == "unclear-labels"
    assert "Decathlon" in error.sentence and "HD-GLIO" in error.sentence
    assert "the labels 1=2,2=1" in error.fix and "the labels 1=2,2=3" in error.fix
    assert recognize(mask(numbered(table)), HEAD).mapping == {1: 2, 2: 2}


def test_scattered_parts_are_asked_for():
    labels = np.zeros(SHAPE, np.uint8)
    for value, x in ((1, -40), (2, 0), (4, 40)):
        labels[ball((x, 0, 0), 9)] = value
    assert recognize(mask(labels), BRATS).question is not None


def test_a_single_part_is_read_with_its_doubts():
    labels = np.where(ball((25, -10, 15), 12), 4, 0).astype(np.uint8)
    found = recognize(mask(labels), BRATS)
    assert found.mapping == {4: 3}
    assert any("4 -> edema" in sentence for sentence in found.assumptions)


def test_own_numbers_that_geometry_contradicts_are_doubted():
    labels = np.array([0, 2, 1, 3, 4], np.uint8)[med_ddpm()]
    found = recognize(mask(labels), BRATS)
    assert found.mapping == {value: value for value in (1, 2, 3, 4)}
    assert "the labels 1=2,2=1,3=3,4=4" in found.assumptions[0]
    assert not recognize(mask(med_ddpm()), BRATS).assumptions


@pytest.mark.parametrize("table", [(0, 64, 128, 191, 255), (0, 11, 12, 13, 10), (0, 1000, 2000, 3000, 4000)])
@pytest.mark.parametrize("order", [(1, 2, 3), (2, 1, 3)])
def test_scaled_numbers_are_refused_with_what_they_may_mean(table, order):
    labels = np.array([0, *order, 4])[med_ddpm()]
    result = check_mask(mask(np.array(table, np.int16)[labels]), MODEL)
    assert not result.usable and not result.fixable
    meant = sorted({table[number]: value for number, value in zip((*order, 4), (1, 2, 3, 4), strict=True)}.items())
    assert f"the labels {','.join(f'{a}={b}' for a, b in meant)}" in result.errors[0].fix


@pytest.mark.parametrize("factor", [0.25, 63.75, 1.5])
def test_labels_scaled_to_fractions_are_refused(factor):
    result = check_mask(mask((med_ddpm() * factor).astype(np.float32)), MODEL)
    assert not result.usable and not result.fixable
    assert "scaled" in result.errors[0].sentence
    halves = np.where(tumor(3) == 1, 1.0, np.where(tumor(3) > 0, 0.5, 0.0)).astype(np.float32)
    assert check_mask(mask(halves), MODEL).findings[0].code == "probabilities"


def test_the_brains_own_number_is_no_part_of_a_tumor():
    labels = np.array([0, 3, 2, 4, 1], np.uint8)[med_ddpm()]
    result = check_mask(mask(labels), MODEL)
    assert not result.usable and "the labels 1=4,2=2,3=1,4=3" in result.errors[0].fix
    alone = np.where(labels == 1, 1, np.where(labels > 0, 3, 0)).astype(np.uint8)
    assert recognize(mask(alone), BRATS).convention.name == "tumor-only"


def test_numbers_that_look_like_none_are_refused():
    assert scaled((5, 9, 77)) == {}
    labels = np.array([0, 5, 9, 77], np.uint8)[tumor(3)]
    result = check_mask(mask(labels), MODEL)
    assert not result.usable and "5=N,9=N,77=N" in result.errors[0].fix


@pytest.mark.parametrize("model", ["brats", "whole-head", "glioma-anatomy"])
@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 1, 2)])
@pytest.mark.parametrize("lesion", [False, True])
def test_maps_of_tissues_are_no_tumors(model, numbers, lesion):
    labels = np.where(brain(), numbers[0], 0).astype(np.uint8)
    for depth, value in ((8.0, numbers[1]), (20.0, numbers[2])):
        labels[erode(brain(), depth, (4.0, 4.0, 4.0))] = value
    if lesion:
        labels[ball((25, -10, 15), 18)] = 4
    result = check_mask(mask(labels), config(model))
    assert not result.usable and not result.fixable
    assert "map of tissues" in result.errors[0].sentence and "the labels 1=" in result.errors[0].fix


def test_a_data_set_is_read_as_one():
    masks = [mask(numbered(table)) for table in ({1: 2, 2: 1}, {2: 1}, {1: 2, 2: 1, 3: 3}, {1: 2}, {})]
    found = recognize_together(masks, BRATS)
    assert found is not None and not found.question
    assert found.mapping == {1: 2, 2: 1, 3: 3}
    ordinary = [mask(numbered(table)) for table in ({1: 1, 2: 2, 3: 4}, {3: 4}, {1: 1})]
    told = recognize_together(ordinary, BRATS)
    assert told is not None and told.mapping == {1: 1, 2: 2, 4: 3} and not told.assumptions
    assert recognize_together([mask(med_ddpm()), mask(med_ddpm())], BRATS) is None


def test_a_data_set_of_two_numberings_or_none_is_asked_for(tmp_path):
    mixed = [mask(numbered({1: 1, 2: 2, 3: last})) for last in (3, 4)]
    found = recognize_together(mixed, BRATS)
    assert found is not None and found.question and "3, others 4" in found.question[0]
    files = [tmp_path / f"{i}.nii.gz" for i in range(2)]
    for file in files:
        write_image(file, numbered({1: 2, 2: 1}), affine(), "a mask")
    with pytest.raises(InputError, match="HD-GLIO"):
        labels_of_source("scans", (), files, BRATS, SilentReporter())
    labels, said = labels_of_source("scans", ((1, "edema"), (2, "spleen")), files, BRATS, SilentReporter())
    assert labels is not None and parse_labels(labels) == {1: 2}
    assert "2 'spleen' -> not known" in said[0]
    with pytest.raises(InputError, match="'spleen'"):
        labels_of_source("scans", ((1, "spleen"),), files, BRATS, SilentReporter())


def test_a_batch_is_read_as_one_where_a_mask_alone_says_less(tmp_path):
    def files(*tables: dict[int, int]) -> list[str]:
        paths = [tmp_path / f"{len(tables)}-{i}.nii.gz" for i in range(len(tables))]
        for path, table in zip(paths, tables, strict=True):
            write_image(path, numbered(table), affine(), "a mask")
        return [str(path) for path in paths]

    whole, part, core = {1: 2, 2: 1, 3: 3}, {1: 2, 2: 1}, {2: 1}
    assert labels_together(files(whole, part, core), BRATS, SilentReporter()) == "1=2,2=1,3=3"
    assert labels_together(files(whole, whole), BRATS, SilentReporter()) is None
    assert labels_together([*files(part), str(tmp_path / "missing.nii.gz")], BRATS, SilentReporter()) is None


@pytest.mark.parametrize("convention", OTHERS, ids=lambda convention: convention.name)
def test_others_have_edema(convention):
    assert "edema" in convention.roles.values()
