"""What the package's own jobs run. Each is imported when the first job asks for it: most of them need torch."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..progress import Reporter
from .cache import ModelCache
from .folder import JobFolder
from .outcome import is_out_of_memory
from .runner import Handler

# Kinds that keep the model for the next job: functions of medddpm.synthesis.job.
WITH_MODEL = {"synthesis": "run", "growth": "growth", "anatomy": "anatomy"}
# The others: module and function.
PLAIN = {
    "check": ("medddpm.labels.job", "check"),
    "outline": ("medddpm.labels.job", "outline"),
    "convert": ("medddpm.models.job", "convert"),
    "estimate": ("medddpm.synthesis.estimate_job", "estimate"),
    "train_estimate": ("medddpm.training.estimate_job", "train_estimate"),
    "scan": ("medddpm.preparation.job", "scan"),
    "prepare": ("medddpm.preparation.job", "prepare"),
}


def load(path: Path, device: str, precision: str) -> Any:
    """``medddpm.load_model``, imported now."""
    return importlib.import_module("medddpm").load_model(path, device=device, precision=precision)


def default_handlers(models: ModelCache | None = None) -> dict[str, Handler]:
    """Kind of job -> handler. ``models`` is shared by all jobs of the process."""
    cache = models if models is not None else ModelCache(load)
    return {
        **{kind: _with_model(function, cache) for kind, function in WITH_MODEL.items()},
        **{kind: _imported(*place) for kind, place in PLAIN.items()},
    }


def _with_model(function: str, cache: ModelCache) -> Handler:
    def handler(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
        run = getattr(importlib.import_module("medddpm.synthesis.job"), function)
        try:
            run(request, folder, reporter, cache)
        except Exception as exc:
            if is_out_of_memory(exc):
                cache.clear()  # the next job begins with all of the memory there is
            raise

    return handler


def _imported(module: str, function: str) -> Handler:
    def handler(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
        getattr(importlib.import_module(module), function)(request, folder, reporter)

    return handler
