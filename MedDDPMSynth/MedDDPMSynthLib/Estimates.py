"""How long a generation will take and whether it fits, asked of the tools worker before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import given, readAnswer, taking
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.Texts import duration

from .Options import Anatomy, Contrast, SynthOptions, withWidget
from .Request import RequestFiles, requestOf

GIB = 2**30


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
        return said if self.fits else withWidget(f"{said} This will not fit. {self.advice}", "ignore_memory")


class Estimator:
    """Asks for estimates; a new question replaces the one that is still open."""

    def __init__(self, toolsJobs: Any, placeholder: Any) -> None:
        self._jobs, self._placeholder = toolsJobs, placeholder
        self.job: Job | None = None

    def ask(
        self,
        options: SynthOptions,
        model: ModelDescription,
        onDone: Callable[[Estimate], None],
        onError: Callable[[str], None] | None = None,
    ) -> None:
        """Ask for an estimate; one of the callbacks is called some time later, unless a newer question comes first."""
        if self.job is not None:
            self.job.cancel()
        plain = replace(options, anatomy=Anatomy.SEED, contrast=Contrast.SEED)  # its files are not there yet
        request = requestOf(plain, model, RequestFiles(self._placeholder))
        self.job = Job(self._jobs, given("estimate", request), taking(_read), onDone, onError)


def _read(outputs: Path) -> Estimate:
    data = readAnswer(outputs, "estimate.json", "The estimate")
    try:
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
    except (ValueError, KeyError, TypeError) as exc:
        raise InputError("The estimate could not be read.") from exc
