"""Importing a published checkpoint as a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config import from_dict
from ..jobs.folder import JobFolder
from ..progress import Reporter
from .registry import convert_model

OUTPUT_NAME = "model"


@dataclass(frozen=True)
class ConvertRequest:
    """``model`` is the checkpoint (``.pt``) or model folder; ``name`` is what people call it, for the log only."""

    model: str
    name: str = ""


def convert(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Write the model as a model folder, ``outputs/model``. Raises InputError where it cannot be used."""
    wanted: ConvertRequest = from_dict(ConvertRequest, request, "The job's request")
    reporter.stage("convert", "Reading the checkpoint")
    convert_model(wanted.model, folder.output(OUTPUT_NAME))
