"""How long a generation will take and whether it fits, asked of the tools worker before it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.jobs.folder import State
from medddpm.jobs.regular import read_bounded

from .Models import ModelDescription
from .Options import SynthOptions
from .Request import RequestFiles, requestOf

GIB = 2**30
MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes that a generation needs; ``availableBytes`` None where unknown. ``advice`` is for a person."""

    seconds: float
    memoryBytes: float
    availableBytes: float | None
    fits: bool
    advice: str
    device: str
    precision: str

    @property
    def sentence(self) -> str:
        """Both figures, and the advice where it does not fit."""
        free = "" if self.availableBytes is None else f" ({self.availableBytes / GIB:.1f} GB are free)"
        said = f"About {duration(self.seconds)} and {self.memoryBytes / GIB:.1f} GB of memory{free}, on {self.device}."
        return said if self.fits else f"{said} This will not fit. {self.advice}"


class Estimator:
    """Asks for estimates; a new question replaces the one that is still open."""

    def __init__(self, toolsJobs: Any, placeholder: Any) -> None:
        self._jobs, self._placeholder = toolsJobs, placeholder
        self._handle: Any = None

    def ask(
        self,
        options: SynthOptions,
        model: ModelDescription,
        onDone: Callable[[Estimate], None],
        onError: Callable[[str], None] | None = None,
    ) -> None:
        """Ask for an estimate; one of the callbacks is called some time later, unless a newer question comes first.

        Raises InputError where the job cannot be submitted.
        """
        self.cancel()
        request = requestOf(options, model, RequestFiles(self._placeholder))
        handle = self._handle = self._jobs.submit(request, kind="estimate")

        def follow(job: Any) -> None:
            if not job.finished:
                return
            job.observers.remove(follow)
            try:
                result: Estimate | str = _read(job)
            except MedDDPMError as exc:
                result = str(exc)
            job.discard()
            if job is not self._handle:
                return
            self._handle = None
            if isinstance(result, Estimate):
                onDone(result)
            elif onError is not None:
                onError(result)

        handle.observers.append(follow)

    def cancel(self) -> None:
        """Forget the open question."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()


def _read(job: Any) -> Estimate:
    if job.folder.state() is not State.DONE:
        raise InputError(job.message or "The estimate was not made.")
    try:
        data = json.loads(read_bounded(job.folder.output("estimate.json"), MAX_BYTES))
        available = data.get("available_bytes")
        return Estimate(
            float(data["seconds"]),
            float(data["memory_bytes"]),
            None if available is None else float(available),
            bool(data["fits"]),
            str(data.get("advice") or ""),
            str(data.get("device") or "auto"),
            str(data.get("precision") or "auto"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InputError("The estimate could not be read.") from exc


def duration(seconds: float) -> str:
    """A time span for reading: "40 s", "6 min", "2.5 h"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
