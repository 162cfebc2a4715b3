"""From a source of scans to a dataset folder: resumable, in parallel, and whole or not at all.

``dataset.json`` is written last and taken away before the first case changes, so its presence says that the folder is
whole. A case that is there is kept where its inputs and options are the same (``stored``).
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..dataset import read_dataset_config
from ..errors import InputError
from ..files import make_folder, write_text
from ..geometry.intensity import intensity_rule
from ..jobs.folder import JobFolder
from ..jobs.owner import OwnerFile
from ..progress import Reporter, SilentReporter
from .description import describe
from .facts import CaseFiles
from .options import PrepareOptions, grid_text
from .outliers import find_outliers
from .plan import Plan, left_out_by, make_plan, split_cases, with_joined_patients
from .pool import sensible_workers, work_through
from .report import NAME as REPORT
from .report import ReportData, write_report
from .stored import DESCRIPTION, PICTURES, CaseOutcome, do_case, read_state, tensors_path

MAX_TOLD = 10
CLAIM = "claim.json"


@dataclass(frozen=True)
class PrepareResult:
    """``dataset`` and ``report`` are paths; ``cases`` counts those in the dataset; ``left_out``: ids of the others.

    ``flags``: what the outlier check found (case, code, sentence, ...). ``sentences``: what else should be known.
    """

    dataset: str
    report: str
    cases: int
    left_out: tuple[str, ...]
    flags: tuple[dict[str, Any], ...]
    sentences: tuple[str, ...]


def prepare(options: PrepareOptions, reporter: Reporter | None = None) -> PrepareResult:
    """Make or bring up to date the dataset folder ``options.out``.

    Raises InputError with a sentence for every case that cannot be prepared (the others are kept for the next run), and
    Cancelled; what is finished then is found again by the next run.
    """
    reporter = reporter or SilentReporter()
    out = Path(options.out)
    _check_places(Path(options.source), out)
    plan = make_plan(options, reporter)
    split_cases(plan.cases, plan.options)  # so that a wrong name is told before hours of work
    with _held(out):
        outcomes = _prepare_cases(plan, out, reporter)
        reporter.stage("report", "Looking for outliers and writing the report")
        return _finish(plan, out, [outcomes[case.id] for case in plan.cases])


def prepare_job(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Make the dataset folder that the request (fields of ``PrepareOptions``) names, and ``outputs/result.json``.

    ``result.json`` has the fields of ``PrepareResult``. Raises InputError as ``prepare``.
    """
    result = prepare(PrepareOptions.from_dict(request), reporter)
    write_text(folder.output("result.json"), json.dumps(asdict(result), indent=1) + "\n")


def _check_places(source: Path, out: Path) -> None:
    data, made = source.resolve(), out.resolve()
    if made == data or made in data.parents or (data.is_dir() and data in made.parents):
        raise InputError(
            f"The dataset folder {out} and the source {source} must not contain each other. Choose another folder."
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. Name a folder for the dataset.")
    taken = [name for name in (DESCRIPTION, "cases", REPORT, PICTURES) if (out / name).exists()]
    if taken and not _made_by_prepare(out):
        raise InputError(
            f"{out} contains {taken[0]}, which is not part of a prepared dataset and would be overwritten. Choose "
            "another folder."
        )


def _made_by_prepare(out: Path) -> bool:
    """Whether ``out`` is a prepared dataset, or one that is not finished."""
    if (out / DESCRIPTION).exists():
        try:
            read_dataset_config(out)
        except InputError:
            return False
        return True
    if (out / CLAIM).is_file():  # left by a run that was killed
        return True
    cases = [path for path in (out / "cases").glob("*") if not path.name.startswith(".")]
    states = [path.stem for path in cases if path.suffix == ".json"]
    return (out / "cases").is_dir() and (not cases or any(read_state(out, case) is not None for case in states))


@contextlib.contextmanager
def _held(out: Path) -> Iterator[None]:
    """The dataset folder in the hands of this process alone, without what a killed one left half-written."""
    make_folder(out / "cases")
    with OwnerFile(out / CLAIM).held(f"The dataset {out}"):
        _tidy(out)
        try:
            yield
        finally:
            _tidy(out)


def _tidy(out: Path) -> None:
    for folder in (out, out / "cases", out / PICTURES):
        for path in folder.glob(".part-*"):  # the temporary names of atomic_path
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _prepare_cases(plan: Plan, out: Path, reporter: Reporter) -> dict[str, CaseOutcome]:
    """All cases, those that are there already among them. Raises InputError where any cannot be prepared."""
    work = partial(do_case, out=out, options=plan.options, template=plan.template)
    # What is there takes so little time that it would say nothing of the time left for the others.
    parts: dict[bool, list[CaseFiles]] = {True: [], False: []}
    for case in plan.cases:
        parts[tensors_path(out, case.id).is_file()].append(case)
    _check_space(plan, out, len(parts[False]))
    outcomes: dict[str, CaseOutcome] = {}
    for there, part in parts.items():
        if not part:
            continue
        count = f"{len(part)} case{'' if len(part) == 1 else 's'}"
        reporter.stage("prepare", f"Updating {count}" if there else f"Preparing {count}")
        workers = plan.options.workers or sensible_workers(len(part))
        with contextlib.closing(work_through(work, part, workers, reporter)) as results:
            for done, outcome in enumerate(results, 1):
                if outcome.fatal:  # no other case will fare better
                    raise InputError(str(outcome.failure))
                if outcome.failure is not None:
                    reporter.warning(f"{outcome.id}: {outcome.failure}")
                reporter.step(done, len(part))
                outcomes[outcome.id] = outcome
    failed = [f"{outcome.id}: {outcome.failure}" for outcome in outcomes.values() if outcome.failure is not None]
    if failed:
        more = f" And {len(failed) - MAX_TOLD} more." if len(failed) > MAX_TOLD else ""
        raise InputError(
            f"{len(failed)} of {len(plan.cases)} cases could not be prepared; the others are kept for the next run. "
            f"{' '.join(failed[:MAX_TOLD])}{more} Correct the files, or leave these cases out.",
            option="leave_out",
        )
    return outcomes


def _check_space(plan: Plan, out: Path, missing: int) -> None:
    """Raise InputError where the disk cannot take the cases that are not there yet; told before the work is done."""
    channels = 2 * len(plan.template.modalities) + len(plan.template.scheme.labels)  # float16 and uint8
    needed = missing * math.prod(plan.template.grid.shape) * channels
    free = shutil.disk_usage(out).free
    if needed > free:
        raise InputError(
            f"{missing} cases need {_size(needed)} in {out}, but {_size(free)} are free. "
            "Free space, choose another folder, or a smaller grid."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _finish(plan: Plan, out: Path, outcomes: Sequence[CaseOutcome]) -> PrepareResult:
    """Flags, split, report and, last of all, ``dataset.json``."""
    facts = [outcome.facts for outcome in outcomes if outcome.facts is not None]
    flags = find_outliers(facts)
    left_out = dict.fromkeys(plan.left_out, "Left out as asked.")
    if plan.options.leave_out_flagged:
        left_out |= left_out_by(flags, plan.cases)
    kept = [case for case in plan.cases if case.id not in left_out]
    if not kept:
        raise InputError("Every case is flagged, so none is left. Look at the flags, and prepare without leaving out.")
    joined = with_joined_patients(kept, flags)
    try:
        splits, said = split_cases(joined, plan.options)
    except InputError as exc:
        if joined == kept:
            raise
        raise InputError(f"{exc} Cases with the same images count as one patient; the report names them.") from exc
    sentences = (*plan.sentences, *said)
    title = f"Dataset {out.resolve().name}"
    report = write_report(
        out, ReportData(title, facts, flags, splits, left_out, sentences, plan.template, _options_text(plan))
    )
    describe(plan, facts, splits, left_out, {outcome.id: outcome.sha256 for outcome in outcomes}).save(out)
    told = tuple(asdict(flag) for flag in flags)
    return PrepareResult(str(out), str(report), len(kept), tuple(left_out), told, sentences)


def _options_text(plan: Plan) -> dict[str, str]:
    """How the dataset was made, for the report."""
    options = plan.options
    return {
        "Source": f"{options.note or Path(options.source).resolve().name} (layout {plan.layout})",
        "Labels": plan.template.scheme.name,
        "Grid": grid_text(plan.template.grid),
        "Modalities": ", ".join(plan.template.modalities),
        "Registration": options.register,
        "Intensities": f"{options.intensities}: {intensity_rule(options.intensities).sentence}",
        "Outline": options.outline,
        "Meaning of the masks' values": options.labels or "recognized",
        "Seed of the split": str(options.seed),
    }
