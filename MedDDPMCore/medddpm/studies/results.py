"""What Table I and Table II found, as data for JSON, CSV, Markdown and the pages."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from ..config import from_dict
from ..errors import InputError
from ..files import read_text
from ..parse import parse_json
from ..training.evaluation.measures import SYNTHETIC
from .request import Arm, Table1Request, Table2Request

FIGURES = ("dice", "iou", "accuracy", "recall", "precision")
JUDGED = "judged"  # in place of real or synthetic: what a measure of ``evaluate`` is judged by

Scores = dict[str, dict[str, dict[str, float]]]  # case -> region -> figure -> value


@dataclass(frozen=True)
class Figure:
    """A figure of a row: ``kind`` real, synthetic or judged (see ``MEASURES``), with the bounds of its interval."""

    name: str
    modality: str
    kind: str
    value: float
    low: float | None
    high: float | None
    patients: int


@dataclass(frozen=True)
class Row:
    """A model's part of the table; ``sheets``: a picture of each case, relative to the study's folder."""

    name: str
    model: str
    weights_sha256: str
    sampler: str
    steps: int
    figures: tuple[Figure, ...]
    doubts: tuple[str, ...]
    sheets: tuple[str, ...]

    def figure(self, name: str, kind: str = SYNTHETIC, modality: str = "all") -> Figure | None:
        """The figure of that name; None where it is not known."""
        return next((f for f in self.figures if (f.name, f.kind, f.modality) == (name, kind, modality)), None)


@dataclass(frozen=True)
class Table1:
    """The whole study. ``network``: whose features 3D-FID compares; "" where there is none."""

    request: Table1Request
    dataset: str
    cases: tuple[str, ...]
    patients: int
    modalities: tuple[str, ...]
    grid: str
    network: str
    weights_sha256: str
    radiomics: str
    rows: tuple[Row, ...]
    doubts: tuple[str, ...]


def finished(path: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """What a file holds that was computed from exactly these facts; None where there is none."""
    with contextlib.suppress(InputError):
        data = parse_json(read_text(path), str(path))
        if isinstance(data, dict) and data.get("facts") == facts:
            return data
    return None


def finished_row(path: Path, facts: dict[str, Any]) -> Row | None:
    """The row in such a file; None where there is none."""
    data = finished(path, facts)
    with contextlib.suppress(InputError):
        return None if data is None else from_dict(Row, data.get("row"), str(path))
    return None


@dataclass(frozen=True)
class ArmResult:
    """An arm with the number of its cases, and the scores of each of its trainings, seed by seed."""

    arm: Arm
    real: int
    synthetic: int
    runs: tuple[Scores, ...]


@dataclass(frozen=True)
class Paired:
    """Two arms on the same patients: mean difference of their Dice (first less second), Wilcoxon's p, patients."""

    first: str
    second: str
    difference: float
    p: float
    adjusted: float
    patients: int


@dataclass(frozen=True)
class Table2:
    """The whole study; ``patients``: test case -> patient. ``sheets``: model -> pictures of synthetic cases."""

    request: Table2Request
    dataset: str
    grid: str
    voxel: str
    patients: dict[str, str]
    arms: tuple[ArmResult, ...]
    sheets: dict[str, tuple[str, ...]]
    doubts: tuple[str, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """Those that a test case has."""
        return tuple(dict.fromkeys(name for regions in self.arms[0].runs[0].values() for name in regions))

    def by_patient(self, run: Scores, region: str, figure: str) -> dict[str, float]:
        """A figure of each test patient that has the region, the mean over cases."""
        values: dict[str, list[float]] = {}
        for case, regions in run.items():
            if region in regions:
                values.setdefault(self.patients[case], []).append(regions[region][figure])
        return {patient: fmean(several) for patient, several in values.items()}

    def over_seeds(self, found: ArmResult, region: str, figure: str) -> tuple[float, float | None]:
        """The mean over patients, as mean and standard deviation over trainings; None for a single one."""
        means = [fmean(self.by_patient(run, region, figure).values()) for run in found.runs]
        return fmean(means), stdev(means) if len(means) > 1 else None

    def paired(self, region: str = "tumor_whole") -> list[Paired]:
        """All pairs of arms by their Dice, the mean over trainings: Wilcoxon's signed-rank test over patients.

        ``adjusted``: p by Holm (1979) for the number of pairs.
        """
        means = [_patient_means([self.by_patient(run, region, "dice") for run in one.runs]) for one in self.arms]
        pairs = list(itertools.combinations(range(len(self.arms)), 2))
        found = [signed_rank(means[i], means[j]) for i, j in pairs]
        adjusted = holm([p for _, p in found])
        names = [one.arm.name for one in self.arms]
        return [
            Paired(names[i], names[j], difference, p, corrected, len(means[i]))
            for (i, j), (difference, p), corrected in zip(pairs, found, adjusted, strict=True)
        ]


def _patient_means(runs: Sequence[dict[str, float]]) -> np.ndarray:
    return np.array([fmean(run[patient] for run in runs) for patient in runs[0]])


def signed_rank(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The mean difference, and the two-sided p of Wilcoxon's test; 1 where nothing differs."""
    from scipy.stats import wilcoxon

    differences = one - other
    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    return float(differences.mean()), p


def holm(values: Sequence[float]) -> list[float]:
    """Each p, adjusted for their number (Holm 1979)."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(np.argsort(values)):
        highest = max(highest, min(1.0, values[i] * (len(values) - rank)))
        adjusted[i] = highest
    return adjusted
