"""The split: whole patients, the same for the same seed, and a sentence where it cannot be made."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.preparation.facts import CaseFiles, patient_of
from medddpm.preparation.options import PrepareOptions
from medddpm.preparation.plan import TEST, TRAIN, VALIDATION, split_cases


def case(name: str, split: str | None = None, patient: str | None = None) -> CaseFiles:
    return CaseFiles(name, patient or patient_of(name), {"T1": Path("t1.nii")}, Path("m.nii"), split)


def asked(
    validation: float = 0.1, test: float = 0.1, seed: int = 0, named: dict[str, list[str]] | None = None
) -> PrepareOptions:
    both = {f"{split}_cases": tuple(names) for split, names in (named or {}).items()}
    return PrepareOptions("scans", "dataset", validation=validation, test=test, seed=seed, **both)


def cases(count: int) -> list[CaseFiles]:
    return [case(f"p{i:03d}") for i in range(count)]


def test_shares_of_the_patients() -> None:
    splits, said = split_cases(cases(50), asked(0.2, 0.1))
    assert Counter(splits.values()) == {TRAIN: 35, VALIDATION: 10, TEST: 5}
    assert said == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 99))
def test_visits_of_a_patient_stay_together(visits: list[tuple[int, int]], seed: int) -> None:
    known = [case(f"BraTS-GLI-{patient:05d}-{visit:03d}") for patient, visit in set(visits)]
    splits, _ = split_cases(known, asked(0.3, 0.3, seed))
    of_patient = defaultdict(set)
    for one in known:
        of_patient[one.patient].add(splits[one.id])
    assert all(len(found) == 1 for found in of_patient.values())
    assert TRAIN in splits.values()
    assert set(splits) == {one.id for one in known}


def test_the_draw_depends_on_seed_and_names_alone() -> None:
    known = cases(40)
    request = asked(0.2, 0.2, 3)
    assert split_cases(known, request)[0] == split_cases(known[::-1], request)[0]
    assert split_cases(known, request)[0] != split_cases(known, asked(0.2, 0.2, 4))[0]


def test_more_patients_do_not_shuffle_those_there_were() -> None:
    before, _ = split_cases(cases(40), asked(0.0, 0.25))
    after, _ = split_cases(cases(41), asked(0.0, 0.25))
    assert sum(before[name] != after[name] for name in before) <= 1


def test_named_cases_take_their_patient_along_and_replace_the_share() -> None:
    known = [*cases(10), case("Brats18_2013_11_1"), case("Brats18_2013_11_2")]
    request = asked(0.2, 0.5, 0, {TEST: ["Brats18_2013_11_1", "p003"]})
    splits, _ = split_cases(known, request)
    assert {name for name, split in splits.items() if split == TEST} == {
        "Brats18_2013_11_1",
        "Brats18_2013_11_2",
        "p003",
    }
    assert Counter(splits.values())[VALIDATION] == 2
    by_patient, _ = split_cases(known, asked(0, 0, 0, {TEST: ["Brats18_2013_11"]}))
    assert Counter(by_patient.values())[TEST] == 2


def test_the_source_may_bring_its_own_split() -> None:
    known = [case("a", TRAIN), case("b", VALIDATION), case("c", TEST), case("d", TRAIN)]
    assert split_cases(known, asked(0.5, 0.4))[0] == {"a": TRAIN, "b": VALIDATION, "c": TEST, "d": TRAIN}
    splits, _ = split_cases(known, asked(named={TEST: ["b"]}))
    assert splits["b"] == TEST


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_patients_are_all_trained_on_with_a_warning(count: int) -> None:
    splits, said = split_cases(cases(count), asked())
    assert set(splits.values()) == {TRAIN}
    assert "will overfit to them" in said[0]
    assert "No case is in the validation split" in said[1]


def test_three_patients_give_one_for_each() -> None:
    assert Counter(split_cases(cases(3), asked())[0].values()) == {TRAIN: 1, VALIDATION: 1, TEST: 1}


@pytest.mark.parametrize(
    ("known", "request_", "words"),
    [
        (cases(3), asked(named={TEST: ["p9"]}), "test case 'p9' is not among the cases"),
        (cases(2), asked(named={TEST: ["p000"], VALIDATION: ["p001"]}), "No case is left to train on"),
        (
            [case("sub-1_ses-1"), case("sub-1_ses-2"), case("x")],
            asked(named={TEST: ["sub-1_ses-1"], VALIDATION: ["sub-1_ses-2"]}),
            "patient sub-1 is named for two splits",
        ),
        (
            [case("a", TRAIN, "p"), case("b", TEST, "p")],
            asked(),
            "patient p is in two splits: the case a in 'train', b in 'test'",
        ),
    ],
)
def test_splits_that_cannot_be(known: list[CaseFiles], request_: PrepareOptions, words: str) -> None:
    with pytest.raises(InputError, match=words):
        split_cases(known, request_)
