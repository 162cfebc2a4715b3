"""The figures of a training run over its iterations, as ``metrics.jsonl`` tells them, ready for a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from medddpm.training.metrics import RESUMED, number

# The smoothed loss follows about this many of the logged points.
SMOOTHED_POINTS = 50
# More points than a screen has pixels are thinned to every second one.
MAX_POINTS = 8000
Row = tuple[float, ...]


@dataclass(frozen=True)
class Band:
    """Noise levels (time steps of the schedule) whose validation loss is told apart: ``low`` to ``high``."""

    low: float
    high: float

    @property
    def title(self) -> str:
        """ "Noise level 0 to 200"."""
        return f"Noise level {self.low:g} to {self.high:g}"


class Rows:
    """Figures by iteration, in order; a row begins with its iteration."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Append a row; those of the same or later iterations are void."""
        self.dropAfter(row[0] - 1)
        self._rows.append(row)

    def dropAfter(self, iteration: float) -> None:
        """Take out the rows after an iteration: the run went on from there."""
        while self._rows and self._rows[-1][0] > iteration:
            self._rows.pop()

    def thin(self) -> None:
        """Keep every second row, the last one among them."""
        self._rows = self._rows[len(self._rows) % 2 == 0 :: 2]

    def column(self, index: int) -> list[float]:
        """One of the figures of all rows."""
        return [row[index] for row in self._rows]


class History:
    """What is known of the course of one run.

    ``train`` has (iteration, loss); ``validation`` (iteration, mean loss, loss of each of ``bands``); ``quality``
    (iteration, MS-SSIM to the real image, similarity to the nearest training case). Figures that are missing are NaN.
    ``verdict`` is the newest kind and sentence.
    """

    def __init__(self) -> None:
        self.train, self.validation, self.quality = Rows(), Rows(), Rows()
        self.bands: tuple[Band, ...] = ()
        self.verdict: tuple[str, str] = ("", "")
        self._cases: dict[str, Row] = {}
        self._qualityAt = -1

    def add(self, metrics: Iterable[Mapping[str, Any]]) -> None:
        """Take in lines of the file, in their order. Lines that are no such figures are passed over."""
        for metric in metrics:
            take = _TAKERS.get(metric["kind"])
            if take is not None:
                take(self, metric)
        if len(self.train) > MAX_POINTS:
            self.train.thin()

    def smoothed(self) -> list[float]:
        """The training loss as a running mean that weighs recent points more."""
        share = 2 / (SMOOTHED_POINTS + 1)
        mean = weight = 0.0
        result = []
        for loss in self.train.column(1):
            mean += share * (loss - mean)
            weight += share * (1 - weight)
            result.append(mean / weight)
        return result

    def _takeTrain(self, metric: Mapping[str, Any]) -> None:
        loss = number(metric, "loss")
        if loss is not None:
            self.train.add((metric["iteration"], loss))

    def _takeValidation(self, metric: Mapping[str, Any]) -> None:
        losses = _bandLosses(metric.get("bands"))
        if losses and tuple(losses) != self.bands:  # of another configuration: what was before cannot be compared
            self.bands, self.validation = tuple(losses), Rows()
        row = [losses.get(band, _NAN) for band in self.bands]
        self.validation.add((metric["iteration"], _orNan(number(metric, "loss")), *row))

    def _takeQuality(self, metric: Mapping[str, Any]) -> None:
        """A line for each case and iteration; the row is their mean."""
        if metric["iteration"] != self._qualityAt:
            self._qualityAt, self._cases = metric["iteration"], {}
        nearest = metric.get("nearest_training")
        nearest = nearest if isinstance(nearest, Mapping) else {}
        figures = (_orNan(number(metric, "ms_ssim")), _orNan(number(nearest, "similarity")))
        self._cases[str(metric.get("case"))] = figures
        means = [_mean(values) for values in zip(*self._cases.values(), strict=True)]
        self.quality.add((metric["iteration"], *means))

    def _takeVerdict(self, metric: Mapping[str, Any]) -> None:
        self.verdict = (str(metric.get("verdict") or ""), str(metric.get("sentence") or ""))

    def _takeResumed(self, metric: Mapping[str, Any]) -> None:
        for rows in (self.train, self.validation, self.quality):
            rows.dropAfter(metric["iteration"])


_NAN = float("nan")
_TAKERS: dict[str, Callable[[History, Mapping[str, Any]], None]] = {
    "train": History._takeTrain,
    "validation": History._takeValidation,
    "quality": History._takeQuality,
    "verdict": History._takeVerdict,
    RESUMED: History._takeResumed,
}


def _bandLosses(entries: Any) -> dict[Band, float]:
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping):
            low, high = number(entry, "low"), number(entry, "high")
            if low is not None and high is not None:
                found[Band(low, high)] = _orNan(number(entry, "loss"))
    return found


def _orNan(value: float | None) -> float:
    return _NAN if value is None else value


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if value == value]
    return fmean(known) if known else _NAN
