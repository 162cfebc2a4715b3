"""What follows from the flags of the outlier check: who counts as one patient, and who is left out on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .case_files import CaseFiles
from .flags import WARNING, Flag

# Flags which say that two cases are one and the same scan.
SAME_SCAN = frozenset({"duplicate", "near-duplicate", "mirrored"})


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
