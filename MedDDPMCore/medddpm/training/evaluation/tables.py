"""The result of an evaluation as JSON and CSV."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...files import csv_text, write_text
from ..monitor.quality import Quality
from .measures import MEASURES, Measured, Reading
from .results import Evaluation, SampleResult

FIGURES_JSON, FIGURES_CSV, MEASURES_CSV = "figures.json", "figures.csv", "measures.csv"
COLUMNS = ("ms_ssim", "ms_ssim_lowest", "psnr", "l1", "mse", "mse_volume", "sharpness", "label_error")


def write_tables(folder: Path, found: Evaluation) -> None:
    """Write ``figures.json`` (everything), ``figures.csv`` (a row a sample) and ``measures.csv`` (a row a value)."""
    write_text(folder / FIGURES_JSON, json.dumps(summary(found), indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    write_text(folder / FIGURES_CSV, figures_csv(found))
    write_text(folder / MEASURES_CSV, csv_text([Reading._fields, *found.readings]))


def summary(found: Evaluation) -> dict[str, Any]:
    """Plain JSON data: how it was made, means, sets, label intensities and every sample."""
    return {
        "format_version": 1,
        **{name: getattr(found, name) for name in ("model", "weights_sha256", "dataset", "split")},
        **{name: getattr(found, name) for name in ("sampler", "steps", "seed", "guidance", "anatomy", "contrast")},
        **{name: getattr(found, name) for name in ("modalities", "baseline_from", "doubts")},
        "mean": {"synthetic": _rounded(found.mean), "baseline": _rounded(found.baseline_mean)},
        "by_modality": {
            name: {"synthetic": _rounded(found.of_modality(name)), "baseline": _rounded(found.of_modality(name, True))}
            for name in found.modalities
        },
        "sets": {name: None if value is None else round(value, 5) for name, value in asdict(found.sets).items()},
        "measures": [_measure(one) for one in found.measures],
        "mean_intensity": found.intensities,
        "samples": [_sample(sample) for sample in found.samples],
    }


def figures_csv(found: Evaluation) -> str:
    """One row for each sample and modality, with the baseline's figures beside; modality "all" is the mean."""
    near = ("nearest_training_case", "nearest_similarity", "nearest_similarity_of_real", "copy")
    head = ["case", "seed", "modality", *COLUMNS, *(f"baseline_{name}" for name in COLUMNS), *near]
    lines: list[list[str | float | None]] = [[*head]]
    for sample in found.samples:
        rows = {"all": (sample.mean, sample.baseline_mean)}
        rows |= {name: (sample.figures[name], sample.baseline[name]) for name in found.modalities}
        for modality, (made, baseline) in rows.items():
            figures = [_round(getattr(part, name)) for part in (made, baseline) for name in COLUMNS]
            lines.append([sample.case, sample.seed, modality, *figures, *_nearest_cells(sample)])
    return csv_text(lines)


def _measure(one: Measured) -> dict[str, Any]:
    measure = MEASURES[one.name]
    return {**_round(asdict(one)), "against": measure.against, "good": one.good, "good_from_to": measure.good}


def _sample(sample: SampleResult) -> dict[str, Any]:
    facts = {name: getattr(sample, name) for name in ("case", "seed", "folder", "copy")}
    for name in ("nearest", "nearest_of_real"):
        value = getattr(sample, name)
        facts[name] = None if value is None else asdict(value)
    figures = {name: _rounded(part) for name, part in sample.figures.items()}
    baseline = {name: _rounded(part) for name, part in sample.baseline.items()}
    means = {"mean": _rounded(sample.mean), "baseline_mean": _rounded(sample.baseline_mean)}
    return {**facts, **means, "figures": figures, "baseline": baseline}


def _rounded(figures: Quality) -> dict[str, Any]:
    return dict(_round(asdict(figures)))


def _round(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _round(item) for name, item in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def _nearest_cells(sample: SampleResult) -> list[str | float]:
    if sample.nearest is None or sample.nearest_of_real is None:
        return ["", "", "", ""]
    figures = [_round(sample.nearest.similarity), _round(sample.nearest_of_real.similarity)]
    return [sample.nearest.case, *figures, "yes" if sample.copy else "no"]
