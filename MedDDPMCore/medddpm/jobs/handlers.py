"""What the package's own jobs run. Each is imported when the first job asks for it: most of them need torch."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..progress import Reporter
from .folder import JobFolder
from .outcome import is_out_of_memory
from .runner import Handler

# Kinds that keep the model for the next job: functions of medddpm.synthesis.job.
WITH_MODEL = {"synthesis": "run", "growth": "growth", "anatomy": "anatomy"}
# The others: module and function.
PLAIN = {
    "check": ("medddpm.labels.job", "check"),
    "outline": ("medddpm.labels.job", "outline"),
    "convert": ("medddpm.models.registry", "convert_job"),
    "estimate": ("medddpm.synthesis.estimate", "estimate_job"),
    "train_estimate": ("medddpm.training.estimate", "train_estimate"),
    "scan": ("medddpm.preparation.scan", "scan_job"),
    "training": ("medddpm.training.elsewhere", "train_sent"),
    "prepare": ("medddpm.preparation.pipeline", "prepare_job"),
    "reading": ("medddpm.studies.reading", "reading_job"),
}


# (path, device, precision) -> model
Loader = Callable[[Path, str, str], Any]
Stamp = tuple[tuple[str, int, int], ...]


class ModelCache:
    """The last ``size`` models, each known by its files (name, bytes, time of change), device and precision.

    A model that is replaced is let go before the new one is loaded: two never share the memory unless ``size`` says so.
    """

    def __init__(self, loader: Loader, size: int = 1) -> None:
        if size < 1:
            raise ValueError("a cache of models holds at least one")
        self._loader = loader
        self._size = size
        self._models: OrderedDict[tuple[str, Stamp, str, str], Any] = OrderedDict()

    def get(self, path: str | os.PathLike[str], device: str = "cpu", precision: str = "fp32") -> Any:
        """The model, loaded now or earlier. Raises InputError where its file is missing, and what the loader raises."""
        path = Path(path).absolute()
        key = (str(path), _stamp(path), device, precision)
        if key in self._models:
            self._models.move_to_end(key)
        else:
            self._make_room(self._size - 1)
            self._models[key] = self._loader(path, device, precision)
        return self._models[key]

    def clear(self) -> None:
        """Let all models go and give their memory back to the device."""
        self._make_room(0)

    def _make_room(self, keep: int) -> None:
        if len(self._models) <= keep:
            return
        while len(self._models) > keep:
            self._models.popitem(last=False)
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def _stamp(path: Path) -> Stamp:
    """Names, sizes and change times (ns) of a model's file, or of the files in its folder."""
    try:
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        return tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    except OSError as exc:
        raise InputError(f"The model {path} cannot be read: {exc.strerror}. Check its name.") from exc


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
        if request.get("on") and function != "anatomy":  # which takes seconds
            importlib.import_module("medddpm.jobs.remote").run_elsewhere(folder, reporter)
            return
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
