"""Synthesis as a job: the handler that the worker calls for jobs of kind "synthesis"."""

from __future__ import annotations

import json
from typing import Any

from ..files import write_text
from ..jobs.cache import ModelCache
from ..jobs.folder import JobFolder
from ..memory import keep_freed_memory
from ..models.places import find_model
from ..progress import Reporter
from .case import PreparedCase
from .pipeline import raise_failures, run_batch
from .request import SynthesisRequest

GRID_NAME = "grid.json"


def run(request: dict[str, Any], folder: JobFolder, reporter: Reporter, models: ModelCache) -> None:
    """Run one synthesis job; results go to ``outputs/<case>/`` of the job folder.

    ``grid.json`` in the job folder tells where the previews lie: shape and affine (voxel -> RAS+ mm) of the grid.
    Raises MedDDPMError naming every mask that failed.
    """
    keep_freed_memory()  # a job has its process to itself
    wanted = SynthesisRequest.from_dict(request)
    reporter.stage("load", "Loading the model")
    model = models.get(find_model(wanted.model), wanted.device, wanted.precision)
    reporter.check_cancelled()

    def on_placed(name: str, case: PreparedCase) -> None:
        grid = {"case": name, "shape": case.placement.grid_shape, "affine": case.placement.grid_affine}
        described = {**grid, "modalities": model.config.modalities}
        write_text(folder.inside(GRID_NAME), json.dumps(described) + "\n")

    raise_failures(run_batch(wanted, model, folder.inside("outputs"), reporter, on_placed))
