"""Synthesis as jobs: the handlers that the worker calls for jobs of the kinds "synthesis", "growth" and "anatomy"."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_text
from ..geometry.itk import write_nrrd
from ..jobs.folder import JobFolder
from ..jobs.handlers import ModelCache
from ..jobs.preview import GRID_NAME
from ..labels.conventions import parse_labels
from ..masks.generators import growth_series
from ..memory import keep_freed_memory
from ..models.model import Model
from ..models.places import find_model
from ..progress import Reporter
from .anatomy import CaseAnatomy
from .case import PreparedCase, prepare_case
from .pipeline import run_batch
from .request import SynthesisRequest
from .results import raise_failures

ANATOMY_NAME, FACTS_NAME = "anatomy.nrrd", "facts.json"


def run(request: dict[str, Any], folder: JobFolder, reporter: Reporter, models: ModelCache) -> None:
    """Run one synthesis job; results go to ``outputs/<case>/`` of the job folder.

    ``grid.json`` in the job folder tells where the previews lie: shape and affine (voxel -> RAS+ mm) of the grid.
    Raises MedDDPMError naming every mask that failed.
    """
    wanted, model = _opened(request, reporter, models)
    _synthesize(wanted, model, folder, reporter)


def growth(request: dict[str, Any], folder: JobFolder, reporter: Reporter, models: ModelCache) -> None:
    """Synthesize a tumor over time: ``frames`` in a synthesis request of one mask, with the tumor at its last size.

    Every frame has the same seed, so that only the tumor and what it displaces change. Results go to
    ``outputs/frame-001/`` and so on. Raises InputError for a mask without a tumor, or an impossible number of frames.
    """
    frames = request.get("frames")
    if not isinstance(frames, int) or isinstance(frames, bool):
        raise InputError(f"The number of frames of a growth series must be a whole number, not {frames!r}.")
    wanted, model = _opened({name: value for name, value in request.items() if name != "frames"}, reporter, models)
    if wanted.best_of > 1:
        raise InputError(
            "A growth series has one seed for all frames. Do without the best of several.", option="best_of"
        )
    case = _case(wanted, model)
    scheme = model.config.scheme
    masks = []
    for number, labels in enumerate(growth_series(case.labels.data, case.labels.affine, scheme, frames), 1):
        reporter.check_cancelled()
        masks.append(folder.inside(f"frame-{number:03d}.nrrd"))
        write_nrrd(masks[-1], labels, case.labels.affine)
    own = ",".join(f"{value}={value}" for value in scheme.values)
    series = replace(wanted, masks=tuple(map(str, masks)), images=(), labels=own)
    _synthesize(series, model, folder, reporter)


def anatomy(request: dict[str, Any], folder: JobFolder, reporter: Reporter, models: ModelCache) -> None:
    """Complete the anatomy of the mask of a synthesis request as its first sample would have it.

    ``outputs/anatomy.nrrd``: the label map in the values of the model's scheme, on the grid of the mask, in which all
    that the mask shows stays; ``outputs/facts.json``: map, mass effect, ventricles and midline shift, as in the record
    of a synthesis. Raises InputError for a model that is told no tissues.
    """
    wanted, model = _opened(request, reporter, models)
    if not model.config.scheme.tissue_values:
        raise InputError(
            f"The model '{model.config.name}' has no tissue labels, so there is no anatomy to complete. Choose a model "
            "that has them."
        )
    reporter.stage("anatomy", "Completing the anatomy")
    case = _case(wanted, model)
    reporter.check_cancelled()
    made = CaseAnatomy(wanted, case, model).sample(wanted.seed)
    assert made.labels is not None
    for sentence in (*case.sentences, *made.sentences):
        reporter.warning(sentence)
    write_nrrd(folder.output(ANATOMY_NAME), made.labels.data, made.labels.affine)
    write_text(folder.output(FACTS_NAME), json.dumps(dict(made.facts)) + "\n")


def _opened(request: dict[str, Any], reporter: Reporter, models: ModelCache) -> tuple[SynthesisRequest, Model]:
    keep_freed_memory()  # a job has its process to itself
    wanted = SynthesisRequest.from_dict(request)
    reporter.stage("load", "Loading the model")
    model = models.get(find_model(wanted.model), wanted.device, wanted.precision)
    reporter.check_cancelled()
    return wanted, model


def _case(wanted: SynthesisRequest, model: Model) -> PreparedCase:
    """The first mask of a request."""
    image = Path(wanted.images[0]) if wanted.images else None
    labels = None if wanted.labels is None else parse_labels(wanted.labels)
    return prepare_case(Path(wanted.masks[0]), image, model.config, labels)


def _synthesize(wanted: SynthesisRequest, model: Model, folder: JobFolder, reporter: Reporter) -> None:
    def on_placed(name: str, case: PreparedCase) -> None:
        grid = {"case": name, "shape": case.placement.grid_shape, "affine": case.placement.grid_affine}
        described = {**grid, "modalities": model.config.modalities}
        write_text(folder.inside(GRID_NAME), json.dumps(described) + "\n")

    raise_failures(run_batch(wanted, model, folder.inside("outputs"), reporter, on_placed))
