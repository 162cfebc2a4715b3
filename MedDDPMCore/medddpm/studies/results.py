"""What Table I found, as data for JSON, CSV, Markdown and the page."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import from_dict
from ..errors import InputError
from ..files import read_text
from ..parse import parse_json
from ..training.evaluation.measures import SYNTHETIC
from .request import Table1Request

JUDGED = "judged"  # in place of real or synthetic: what a measure of ``evaluate`` is judged by


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


def finished_row(path: Path, facts: dict[str, Any]) -> Row | None:
    """The row in a file that was computed from exactly these facts; None where there is none."""
    with contextlib.suppress(InputError):
        data = parse_json(read_text(path), str(path))
        if isinstance(data, dict) and data.get("facts") == facts:
            row: Row = from_dict(Row, data.get("row"), str(path))
            return row
    return None
