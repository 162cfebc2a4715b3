"""Which cases are trained on and which are kept to judge by: whole patients, drawn with a seed; and who is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from ..labels.findings import WARNING
from .case_files import CaseFiles
from .facts import Flag

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Flags which say that two cases are one and the same scan.
SAME_SCAN = frozenset({"duplicate", "near-duplicate", "mirrored"})


@dataclass(frozen=True)
class SplitRequest:
    """``validation`` and ``test``: shares of the patients; ``named``: "validation", "test" -> case or patient ids."""

    validation: float = 0.1
    test: float = 0.1
    seed: int = 0
    named: Mapping[str, Sequence[str]] | None = None


def split_cases(cases: Sequence[CaseFiles], request: SplitRequest) -> tuple[dict[str, str], tuple[str, ...]]:
    """Case id -> "train", "validation" or "test", and sentences on what is unusual about the split.

    All cases of a patient go one way. A split for which cases are named, by the request or by the source, gets these;
    the others are drawn in an order that depends on the seed and the patients' names alone. Raises InputError for
    names that no case has, for a patient in two splits, and where nothing is left to train on, unless all are for the
    test: by their names, or by a share of 1.
    """
    given = {**_by_source(cases), **_named(cases, request)}
    free = sorted({case.patient for case in cases} - set(given), key=lambda patient: _rank(patient, request.seed))
    total = len(free) + len(given)
    chosen = dict(given)
    kept = 0 if TRAIN in given.values() or request.test == 1 else 1  # never all: somebody must be trained on
    for split, share in ((TEST, request.test), (VALIDATION, request.validation)):
        count = 0 if split in given.values() else _count(share, total)
        for patient in free[: max(0, min(count, len(free) - kept))]:
            chosen[patient] = split
            free.remove(patient)
    chosen.update(dict.fromkeys(free, TRAIN))
    splits = {case.id: chosen[case.patient] for case in cases}
    if TRAIN not in splits.values() and VALIDATION in splits.values():
        raise InputError("No case is left to train on. Name fewer cases for validation and test.")
    return splits, _sentences(splits, total)


def _by_source(cases: Sequence[CaseFiles]) -> dict[str, str]:
    """Patient -> split, as the source says."""
    told: dict[str, tuple[str, str]] = {}
    for case in cases:
        if case.split is None:
            continue
        other, split = told.setdefault(case.patient, (case.id, case.split))
        if split != case.split:
            raise InputError(
                f"The patient {case.patient} is in two splits: the case {other} in '{split}', {case.id} in "
                f"'{case.split}'. Put all cases of a patient into one."
            )
    return {patient: split for patient, (_, split) in told.items()}


def _named(cases: Sequence[CaseFiles], request: SplitRequest) -> dict[str, str]:
    """Patient -> split, as the request says; naming one case of a patient takes all."""
    patients = {name: case.patient for case in cases for name in (case.id, case.patient)}
    chosen: dict[str, str] = {}
    for split, names in (request.named or {}).items():
        for name in names:
            if name not in patients:
                raise InputError(f"The {split} case '{name}' is not among the cases. Check its name.")
            if chosen.setdefault(patients[name], split) != split:
                raise InputError(f"The patient {patients[name]} is named for two splits. Name it for one of them.")
    return chosen


def _rank(patient: str, seed: int) -> bytes:
    """A place in the draw that adding other patients does not change."""
    return hashlib.sha256(f"{seed}:{patient}".encode()).digest()


def _count(share: float, patients: int) -> int:
    """Patients for a share; one at least where there are three or more."""
    return max(round(share * patients), int(share > 0 and patients >= 3))


def _sentences(splits: Mapping[str, str], patients: int) -> tuple[str, ...]:
    if set(splits.values()) == {TEST}:
        return ("All cases are for the test: models can be measured on this dataset, not trained.",)
    said = []
    if patients < 3:
        said.append(
            f"There {'is one patient' if patients == 1 else f'are {patients} patients'} only: a model will overfit to "
            "them. Add more patients for anything but a test run."
        )
    if VALIDATION not in splits.values():
        said.append("No case is in the validation split, so overfitting will not be noticed.")
    return tuple(said)


def with_joined_patients(cases: Sequence[CaseFiles], flags: Sequence[Flag]) -> list[CaseFiles]:
    """The cases with one patient for those that are the same scan under two names.

    Else training could see what it is judged by.
    """
    patients = {case.id: case.patient for case in cases}
    stands_for = {patient: patient for patient in patients.values()}
    for flag in flags:
        for other in flag.others if flag.code in SAME_SCAN else ():
            if flag.case in patients and other in patients:
                one, two = stands_for[patients[flag.case]], stands_for[patients[other]]
                stands_for = {patient: one if found == two else found for patient, found in stands_for.items()}
    return [replace(case, patient=stands_for[case.patient]) for case in cases]


def left_out_by(flags: Sequence[Flag], cases: Sequence[CaseFiles]) -> dict[str, str]:
    """Case -> why it is left out: flags that say that a case may do harm. Of the same scan twice, the first stays."""
    order = {case.id: number for number, case in enumerate(cases)}
    reasons: dict[str, str] = {}
    for flag in flags:
        if flag.severity != WARNING or (flag.code in SAME_SCAN and _is_first(flag, order)):
            continue
        reasons[flag.case] = f"{reasons[flag.case]} {flag.sentence}" if flag.case in reasons else flag.sentence
    return reasons


def _is_first(flag: Flag, order: dict[str, int]) -> bool:
    return all(order[flag.case] < order[other] for other in flag.others if other in order)
