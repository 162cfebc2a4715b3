"""From scans to a model and its figures, for Python: what the commands prepare, train and evaluate do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import from_dict
from .errors import MedDDPMError
from .progress import CallingReporter, Progress

if TYPE_CHECKING:
    from .preparation.pipeline import PrepareResult
    from .training.evaluation.results import Evaluation


def prepare(source: str | Path, out: str | Path, *, progress: Progress | None = None, **options: Any) -> PrepareResult:
    """Make the dataset folder ``out`` of the scans in ``source``; ``options``: fields of ``PrepareOptions``.

    Raises InputError with a sentence for every case that cannot be prepared.
    """
    from .preparation.options import PrepareOptions
    from .preparation.pipeline import prepare as run

    fields = {"source": str(source), "out": str(out), **options}
    return run(from_dict(PrepareOptions, fields, "prepare"), CallingReporter(progress))


def train(
    dataset: str | Path, out: str | Path, *, preset: str = "demo", progress: Progress | None = None, **changes: Any
) -> Path:
    """Train a model on a prepared dataset in the run folder ``out``, or go on there; returns the model's folder.

    ``changes``: fields of ``TrainConfig`` that differ from the ``preset``, as iterations, batch_size, precision, device
    and start_from. Raises InputError where it cannot be begun, Cancelled where it was stopped, MedDDPMError where it
    failed.
    """
    from .jobs.stop import Stop
    from .training.resume import open_run
    from .training.runner import run_training

    run = open_run(None, Path(dataset), preset, Path(out), changes)
    code = run_training(run, Stop(), console=CallingReporter(progress))
    if code:
        events = run.recent_events()
        raise MedDDPMError((events and events[-1].message) or "The training ended without a message.", code)
    return run.model


def evaluate(
    model: str | Path,
    dataset: str | Path,
    out: str | Path,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Measure a model on the test cases of a prepared dataset; tables and the report are in ``out``.

    ``options``: fields of ``EvaluationRequest``. Raises InputError where model and dataset do not fit.
    """
    from .training.evaluation.evaluate import evaluate as run
    from .training.evaluation.request import EvaluationRequest

    request = {"model": str(model), "dataset": str(dataset), "out": str(out), **options}
    return run(from_dict(EvaluationRequest, request, "evaluate"), CallingReporter(progress))
