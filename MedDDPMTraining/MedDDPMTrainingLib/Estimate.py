"""How long a training takes and whether it fits, asked of the tools worker before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import given, readAnswer, taking

KIND, NAME = "train_estimate", "estimate.json"


@dataclass(frozen=True)
class TrainEstimate:
    """Seconds and bytes that a training needs; None where unknown. ``figures`` and ``advice`` are for a person."""

    secondsPerIteration: float | None
    seconds: float | None
    memoryBytes: float
    availableBytes: float | None
    diskBytes: float
    fits: bool
    figures: str
    advice: str
    device: str

    @property
    def sentence(self) -> str:
        """All figures, and the advice where it does not fit (which a panel shows in red)."""
        parts = [self.figures, "" if self.fits else "This will not fit.", self.advice]
        return " ".join(part for part in parts if part)


class TrainingEstimator:
    """Asks for estimates; a new question replaces the one that is still open."""

    def __init__(self, toolsJobs: Any) -> None:
        self._jobs = toolsJobs
        self._job: Job | None = None

    @property
    def asking(self) -> bool:
        """Whether an answer is still to come."""
        return self._job is not None and not self._job.finished

    def ask(
        self, config: Any, onDone: Callable[[TrainEstimate], None], onError: Callable[[str], None] | None = None
    ) -> None:
        """Ask for the estimate of a ``TrainConfig``; one of the callbacks is called some time later."""
        self.cancel()
        self._job = Job(self._jobs, given(KIND, config.to_dict()), taking(_read), onDone, onError)

    def cancel(self) -> None:
        """Forget the open question."""
        if self._job is not None:
            self._job.cancel()


def _read(outputs: Path) -> TrainEstimate:
    data = readAnswer(outputs, NAME, "The estimate")
    try:
        return TrainEstimate(
            _number(data["seconds_per_iteration"]),
            _number(data["seconds"]),
            float(data["memory_bytes"]),
            _number(data["available_bytes"]),
            float(data["disk_bytes"]),
            bool(data["fits"]),
            str(data["sentence"]),
            str(data["advice"] or ""),
            str(data["device"]),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise InputError("The estimate could not be read.") from exc


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
