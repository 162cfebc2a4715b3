"""What a preparation will do, settled before it begins: which cases, which grid, which split."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import ModelConfig, NetworkConfig, ScheduleConfig
from ..errors import InputError
from ..geometry.io import read_mask
from ..geometry.volume import Mask
from ..labels.conventions import labels_text
from ..labels.recognize import labels_from_names, recognize_together
from ..labels.scheme import LabelScheme
from ..progress import Reporter
from .case_files import ERROR, CaseFiles, SourceProblem, SourceScan
from .options import PrepareOptions
from .scan import GRID_MISMATCH, scan_source
from .split import TEST, VALIDATION, SplitRequest

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
        said = ", ".join(f"{v} '{n}' -> {_word(v, mapping, scheme)}" for v, n in names)
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


def _word(value: int, mapping: Mapping[int, int], scheme: LabelScheme) -> str:
    if value not in mapping:
        return "not known"
    return scheme.label(mapping[value]).name.lower() if mapping[value] else "left out"


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
    split: SplitRequest
    sentences: tuple[str, ...]


def make_plan(options: PrepareOptions, reporter: Reporter) -> Plan:
    """Scan the source and settle what is to be done. Raises InputError with every problem that stops it."""
    scheme = options.label_scheme()
    grid = options.grid_config(scheme)
    table = None if options.table is None else Path(options.table)
    scan = scan_source(Path(options.source), options.layout, table, reporter)
    modalities = _modalities(options, scan)
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
    named = {VALIDATION: options.validation_cases, TEST: options.test_cases}
    split = SplitRequest(options.validation, options.test, options.seed, named)
    return Plan(options, scan.layout, cases, left_out, template, split, tuple(warnings))


def _modalities(options: PrepareOptions, scan: SourceScan) -> tuple[str, ...]:
    for name in options.modalities:
        if name not in scan.modalities:
            raise InputError(
                f"The modality {name} was asked for, but {options.source} has {', '.join(scan.modalities) or 'none'}."
            )
    return options.modalities or scan.modalities


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
        raise InputError(problems_text(stopping, options.source))


def problems_text(problems: Sequence[SourceProblem], source: str) -> str:
    """Problems for reading, the first ten in full."""
    told = " ".join(problem.sentence for problem in problems[:MAX_TOLD])
    more = f" And {len(problems) - MAX_TOLD} more." if len(problems) > MAX_TOLD else ""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{source} has {count}: {told}{more}"
