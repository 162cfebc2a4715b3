"""From a source of scans to a dataset folder: resumable, in parallel, and whole or not at all.

``dataset.json`` is written last and taken away before the first case changes, so its presence says that the folder is
whole. A case that is there is kept where its inputs and options are the same (``stored``).
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import SimpleITK as sitk  # noqa: N813

from ..dataset import read_dataset_config
from ..errors import InputError, MedDDPMError
from ..files import make_folder, write_text
from ..geometry.intensity import intensity_rule
from ..jobs.folder import JobFolder
from ..jobs.owner import OwnerFile
from ..memory import available_memory, usable_cores
from ..progress import Reporter, SilentReporter
from .description import describe
from .facts import CaseFiles
from .options import PrepareOptions, grid_text
from .outliers import find_outliers
from .plan import Plan, left_out_by, make_plan, split_cases, with_joined_patients
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
            f"{missing} cases need {needed / 1e9:.3g} GB in {out}, but {free / 1e9:.3g} GB are free. "
            "Free space, choose another folder, or a smaller grid."
        )


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


# Registration and resampling of four volumes of 240^3 voxels, with the libraries of a process.
BYTES_A_WORKER = 2.5e9
MAX_AUTOMATIC = 16
LOOK_SECONDS = 0.2

Item = TypeVar("Item")
Result = TypeVar("Result")


def sensible_workers(items: int) -> int:
    """Processes for so many pieces of work: as many as processors and memory allow, 16 at most."""
    memory = available_memory("cpu")
    fitting = MAX_AUTOMATIC if memory is None else int(memory / BYTES_A_WORKER)
    return max(1, min(usable_cores(), fitting, items, MAX_AUTOMATIC))


def work_through(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, reporter: Reporter
) -> Generator[Result, None, None]:
    """The results of ``function`` for all items, as they come; with one worker in this process.

    ``function`` and items must be picklable: processes are started anew, as Windows, macOS and programs with windows of
    their own need it. Cancelling, and the end of the iteration, stop running work at once. Raises MedDDPMError where
    a process dies.
    """
    if workers <= 1 or len(items) <= 1:
        for item in items:
            reporter.check_cancelled()
            yield function(item)
        return
    with _pool(min(workers, len(items))) as executor:
        pending: set[Future[Result]] = {executor.submit(function, item) for item in items}
        while pending:
            done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            reporter.check_cancelled()
            try:
                results = [future.result() for future in done]
            except BrokenProcessPool as exc:
                raise MedDDPMError(
                    "A process that prepared cases was killed, most likely because memory ran out. What is finished "
                    "is kept. Run it again with fewer workers."
                ) from exc
            yield from results


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once when the block does, and when this process does, however it ends."""
    context = multiprocessing.get_context("spawn")
    held, leash = context.Pipe(duplex=False)
    threads = max(1, sensible_workers(MAX_AUTOMATIC) // workers)
    executor = ProcessPoolExecutor(workers, context, _begin, (held, threads))
    try:
        yield executor
    finally:
        leash.close()
        executor.shutdown(wait=True, cancel_futures=True)
        held.close()


def _begin(leash: Connection, threads: int) -> None:
    """Set up a worker process: ends with its parent, leaves Ctrl-C to it, and shares the processors fairly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)

    def end_with_parent() -> None:
        with contextlib.suppress(EOFError, OSError):
            leash.recv()  # nothing is ever sent: this returns when the other end is closed
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
