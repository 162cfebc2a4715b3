"""What a preparation will do, settled before it begins: which cases, which grid, which split.

Splits take whole patients, drawn with a seed: some are trained on, others kept to judge by.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import ModelConfig, NetworkConfig, ScheduleConfig
from ..errors import InputError
from ..geometry.io import read_mask
from ..geometry.volume import Mask
from ..labels.conventions import labels_text
from ..labels.findings import WARNING
from ..labels.recognize import labels_from_names
from ..labels.scheme import LabelScheme
from ..labels.together import recognize_together
from ..progress import Reporter
from .facts import ERROR, CaseFiles, Flag, SourceScan
from .options import PrepareOptions
from .scan import GRID_MISMATCH, scan_source

MAX_TOLD = 10


def labels_of_source(
    source: str,
    names: Sequence[tuple[int, str]],
    masks: Sequence[Path],
    scheme: LabelScheme,
    reporter: Reporter,
) -> tuple[str | None, tuple[str, ...]]:
    """File value = scheme value ("1=2,2=1,3=3") for all masks, and sentences on how that was read.

    The names that a description gives count (``names``: value and name), then what the masks show together; None
    leaves it to each mask. Names of unknown meaning are left out, so a mask that has their values is refused. Raises
    InputError where no name is known, or where the masks' numbers could mean several things.
    """
    if names:
        mapping = labels_from_names(names, scheme)
        words = {value: scheme.label(own).name.lower() if own else "left out" for value, own in mapping.items()}
        said = ", ".join(f"{value} '{name}' -> {words.get(value, 'not known')}" for value, name in names)
        if not mapping:
            sentence = f"{source} names labels that are not known: {said}. Say what each value means."
            raise InputError(sentence, option="labels")
        return labels_text(mapping), (f"The labels are known by their names: {said}.",)
    reporter.stage("labels", "Reading the masks' labels")
    found = recognize_together(_readable(masks, reporter), scheme)
    if found is None:
        return None, ()
    if found.question:
        raise InputError(f"{source}: {' '.join(found.question)}", option="labels")
    return labels_text(found.mapping), found.sentences


def _readable(masks: Sequence[Path], reporter: Reporter) -> Iterator[Mask]:
    for done, path in enumerate(masks):
        reporter.check_cancelled()
        with contextlib.suppress(InputError):  # the preparation of its case says what is the matter with it
            yield read_mask(path)
        reporter.step(done + 1, len(masks))


@dataclass(frozen=True)
class Plan:
    """``options`` with what the source says of its labels; ``cases`` to prepare; ``left_out`` on demand.

    ``template`` is a model as far as the preparation needs to know it: scheme, grid, modalities, background.
    ``sentences``: what should be known of the source.
    """

    options: PrepareOptions
    layout: str
    cases: tuple[CaseFiles, ...]
    left_out: tuple[str, ...]
    template: ModelConfig
    sentences: tuple[str, ...]


def make_plan(options: PrepareOptions, reporter: Reporter) -> Plan:
    """Scan the source and settle what is to be done. Raises InputError with every problem that stops it."""
    scheme = options.label_scheme()
    grid = options.grid_config(scheme)
    table = None if options.table is None else Path(options.table)
    scan = scan_source(Path(options.source), options.layout, table, reporter)
    modalities = options.modalities or scan.modalities
    for name in modalities:
        if name not in scan.modalities:
            raise InputError(
                f"The modality {name} was asked for, but {options.source} has {', '.join(scan.modalities) or 'none'}."
            )
    cases, left_out = _chosen(options, scan)
    _refuse(options, scan, modalities, cases)
    warnings = [problem.sentence for problem in scan.problems if problem.severity != ERROR]
    if options.labels is None:
        masks = [case.mask for case in cases if case.mask is not None]
        labels, said = labels_of_source(options.source, scan.label_names, masks, scheme, reporter)
        options, warnings = replace(options, labels=labels), [*warnings, *said]
    network = NetworkConfig(len(modalities), len(scheme.labels), base_channels=32, multipliers=(1,))
    template = ModelConfig(
        name="training data",
        modalities=modalities,
        network=network,
        schedule=ScheduleConfig(),
        scheme=scheme,
        grid=grid,
        normalization=options.intensities,
    )
    return Plan(options, scan.layout, cases, left_out, template, tuple(warnings))


def _chosen(options: PrepareOptions, scan: SourceScan) -> tuple[tuple[CaseFiles, ...], tuple[str, ...]]:
    """The cases to prepare and the ids of those left out. Raises InputError for names that nothing has."""
    names = set(options.leave_out)
    known = {name for case in scan.cases for name in (case.id, case.patient)}
    known |= {problem.file for problem in scan.problems if problem.file} | {p.case for p in scan.problems if p.case}
    unknown = sorted(names - known)
    if unknown:
        raise InputError(f"'{unknown[0]}' is to be left out, but no case, patient or file has that name. Check it.")
    out = tuple(case.id for case in scan.cases if case.id in names or case.patient in names)
    cases = tuple(case for case in scan.cases if case.id not in out)
    if scan.cases and not cases:
        raise InputError(f"All {len(scan.cases)} cases of {options.source} are left out. Leave out fewer.")
    return cases, out


def _refuse(options: PrepareOptions, scan: SourceScan, modalities: Sequence[str], cases: Sequence[CaseFiles]) -> None:
    """Raise InputError where the source has problems that concern what is to be prepared."""
    used, left_out = {case.id for case in cases}, set(options.leave_out)
    stopping = [
        problem
        for problem in scan.errors
        if (problem.case is None or problem.case in used or problem.case not in {c.id for c in scan.cases})
        and not {problem.case, problem.file} & left_out
        and (problem.part is None or problem.part in (*modalities, "mask"))
        and not (problem.code == GRID_MISMATCH and options.register != "none")
    ]
    if stopping:
        told = " ".join(problem.sentence for problem in stopping[:MAX_TOLD])
        more = f" And {len(stopping) - MAX_TOLD} more." if len(stopping) > MAX_TOLD else ""
        count = "a problem" if len(stopping) == 1 else f"{len(stopping)} problems"
        raise InputError(f"{options.source} has {count}: {told}{more}")


TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Flags which say that two cases are one and the same scan.
SAME_SCAN = frozenset({"duplicate", "near-duplicate", "mirrored"})


def split_cases(cases: Sequence[CaseFiles], options: PrepareOptions) -> tuple[dict[str, str], tuple[str, ...]]:
    """Case id -> "train", "validation" or "test", and sentences on what is unusual about the split.

    All cases of a patient go one way. A split for which cases are named, by the options or by the source, gets these;
    the others are drawn in an order that depends on the seed and the patients' names alone. Raises InputError for
    names that no case has, for a patient in two splits, and where nothing is left to train on, unless all are for the
    test: by their names, or by a share of 1.
    """

    def rank(patient: str) -> bytes:
        """A place in the draw that adding other patients does not change."""
        return hashlib.sha256(f"{options.seed}:{patient}".encode()).digest()

    chosen = {**_by_source(cases), **_named(cases, options)}
    free = sorted({case.patient for case in cases} - set(chosen), key=rank)
    total, given = len(free) + len(chosen), set(chosen.values())
    kept = 0 if TRAIN in given or options.test == 1 else 1  # never all: somebody must be trained on
    for split, share in ((TEST, options.test), (VALIDATION, options.validation)):
        # One patient at least where there are three or more.
        count = 0 if split in given else max(round(share * total), int(share > 0 and total >= 3))
        drawn = free[: max(0, min(count, len(free) - kept))]
        chosen |= dict.fromkeys(drawn, split)
        free = free[len(drawn) :]
    chosen |= dict.fromkeys(free, TRAIN)
    splits = {case.id: chosen[case.patient] for case in cases}
    if TRAIN not in splits.values() and VALIDATION in splits.values():
        raise InputError("No case is left to train on. Name fewer cases for validation and test.")
    if set(splits.values()) == {TEST}:
        return splits, ("All cases are for the test: models can be measured on this dataset, not trained.",)
    said = []
    if total < 3:
        said.append(
            f"There {'is one patient' if total == 1 else f'are {total} patients'} only: a model will overfit to "
            "them. Add more patients for anything but a test run."
        )
    if VALIDATION not in splits.values():
        said.append("No case is in the validation split, so overfitting will not be noticed.")
    return splits, tuple(said)


def _by_source(cases: Sequence[CaseFiles]) -> dict[str, str]:
    """Patient -> split, as the source says."""
    told: dict[str, CaseFiles] = {}
    for case in cases:
        other = told.setdefault(case.patient, case) if case.split else case
        if other.split != case.split:
            raise InputError(
                f"The patient {case.patient} is in two splits: the case {other.id} in '{other.split}', {case.id} in "
                f"'{case.split}'. Put all cases of a patient into one."
            )
    return {patient: case.split for patient, case in told.items() if case.split}


def _named(cases: Sequence[CaseFiles], options: PrepareOptions) -> dict[str, str]:
    """Patient -> split, as the options say; naming one case of a patient takes all."""
    patients = {name: case.patient for case in cases for name in (case.id, case.patient)}
    chosen: dict[str, str] = {}
    for split, names in ((VALIDATION, options.validation_cases), (TEST, options.test_cases)):
        for name in names:
            if name not in patients:
                raise InputError(f"The {split} case '{name}' is not among the cases. Check its name.")
            if chosen.setdefault(patients[name], split) != split:
                raise InputError(f"The patient {patients[name]} is named for two splits. Name it for one of them.")
    return chosen


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
        first = all(order[flag.case] < order[other] for other in flag.others if other in order)
        if flag.severity == WARNING and not (flag.code in SAME_SCAN and first):
            reasons[flag.case] = f"{reasons[flag.case]} {flag.sentence}" if flag.case in reasons else flag.sentence
    return reasons
