"""What an evaluation found, as data for JSON, CSV and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...files import csv_text, write_text
from ..monitor.neighbors import Nearest
from ..monitor.quality import Quality, overall
from .measures import ALL, MEASURES, Measured, Reading
from .request import EvaluationRequest

OWN, MODEL, TRAINING, EVALUATED = (
    "each case's own real images, whose contrast the samples are given",
    "the model's training data",
    "the dataset's training cases",
    "the evaluated cases themselves",
)
LabelTable = dict[str, dict[str, dict[str, float | None]]]  # modality, label, "real" or "synthetic"


def undefined(terms: Mapping[str, Sequence[float]]) -> list[str]:
    """A sentence where MS-SSIM is not defined. ``terms``: what was compared -> the lowest term of each comparison."""
    told = []
    for what, found in terms.items():
        below = [term for term in found if term < 0]
        if below:
            told.append(f"{len(below)} of {len(found)} comparisons of {what} (lowest term {min(below):.4f})")
    sentence = (
        "MS-SSIM is not defined where images are opposite at one of its scales (a negative term), and counts as 0 "
        f"there, as in MONAI: {', '.join(told)}."
    )
    return [sentence] if told else []


@dataclass(frozen=True)
class SampleResult:
    """One sample of one case: figures by modality, of the sample and of the baseline (the image of label means).

    ``folder`` is relative to the evaluation's folder, with forward slashes. ``nearest`` and ``nearest_of_real``: the
    nearest training cases of the sample and of the real image, None where they are unknown. ``copy``: whether the
    sample repeats a training case.
    """

    case: str
    seed: int
    folder: str
    figures: dict[str, Quality]
    baseline: dict[str, Quality]
    nearest: Nearest | None = None
    nearest_of_real: Nearest | None = None
    copy: bool | None = None

    @property
    def mean(self) -> Quality:
        """Figures of the sample over its modalities."""
        return overall(list(self.figures.values()))

    @property
    def baseline_mean(self) -> Quality:
        """Figures of the baseline over its modalities."""
        return overall(list(self.baseline.values()))


@dataclass(frozen=True)
class SetFigures:
    """MMD of all synthetic images, and of the training images, with the real ones; None where there are too few."""

    mmd: float | None
    mmd_of_training: float | None


@dataclass(frozen=True)
class Evaluation:
    """The whole result of ``request``, whose sampler and steps are told.

    ``intensities``: mean intensity of each label by modality, -1 to 1, over all samples. ``readings`` are the single
    values behind ``measures``. ``baseline_from``: whose label means the baseline has.
    """

    request: EvaluationRequest
    model: str
    weights_sha256: str
    modalities: tuple[str, ...]
    samples: tuple[SampleResult, ...]
    sets: SetFigures
    intensities: LabelTable
    measures: tuple[Measured, ...]
    readings: tuple[Reading, ...]
    baseline_from: str
    doubts: tuple[str, ...] = ()

    @property
    def mean(self) -> Quality:
        """Over all samples and modalities."""
        return overall([sample.mean for sample in self.samples])

    @property
    def baseline_mean(self) -> Quality:
        """The baseline over all samples and modalities."""
        return overall([sample.baseline_mean for sample in self.samples])

    def measure(self, name: str, modality: str = ALL) -> Measured:
        """A measure over all patients; without estimates where it could not be taken."""
        taken = (one for one in self.measures if (one.name, one.modality) == (name, modality))
        return next(taken, Measured(name, modality))

    def of_modality(self, modality: str, baseline: bool = False) -> Quality:
        """Over all samples, of one modality."""
        parts: Sequence[Quality] = [(s.baseline if baseline else s.figures)[modality] for s in self.samples]
        return overall(parts)


FIGURES_JSON, FIGURES_CSV, MEASURES_CSV = "figures.json", "figures.csv", "measures.csv"
COLUMNS = ("ms_ssim", "ms_ssim_lowest", "psnr", "l1", "mse", "mse_volume", "sharpness", "label_error")


def write_tables(folder: Path, found: Evaluation) -> None:
    """Write ``figures.json`` (everything), ``figures.csv`` (a row a sample) and ``measures.csv`` (a row a value)."""
    write_text(folder / FIGURES_JSON, json.dumps(summary(found), indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    write_text(folder / FIGURES_CSV, figures_csv(found))
    write_text(folder / MEASURES_CSV, csv_text([Reading._fields, *found.readings]))


def summary(found: Evaluation) -> dict[str, Any]:
    """Plain JSON data: how it was made, means, sets, label intensities and every sample."""
    asked = ("split", "sampler", "steps", "seed", "guidance", "anatomy", "contrast")
    data = {
        "format_version": 1,
        **{name: getattr(found, name) for name in ("model", "weights_sha256", "modalities", "baseline_from", "doubts")},
        "dataset": Path(found.request.dataset).name,
        **{name: getattr(found.request, name) for name in asked},
        "mean": {"synthetic": asdict(found.mean), "baseline": asdict(found.baseline_mean)},
        "by_modality": {
            name: {"synthetic": asdict(found.of_modality(name)), "baseline": asdict(found.of_modality(name, True))}
            for name in found.modalities
        },
        "sets": asdict(found.sets),
        "measures": [
            {**asdict(one), "against": measure.against, "good": one.good, "good_from_to": measure.good}
            for one, measure in ((one, MEASURES[one.name]) for one in found.measures)
        ],
        "mean_intensity": found.intensities,
        "samples": [
            {**asdict(sample), "mean": asdict(sample.mean), "baseline_mean": asdict(sample.baseline_mean)}
            for sample in found.samples
        ],
    }
    rounded: dict[str, Any] = _rounded(data)
    return rounded


def figures_csv(found: Evaluation) -> str:
    """One row for each sample and modality, with the baseline's figures beside; modality "all" is the mean."""
    near = ("nearest_training_case", "nearest_similarity", "nearest_similarity_of_real", "copy")
    head = ["case", "seed", "modality", *COLUMNS, *(f"baseline_{name}" for name in COLUMNS), *near]
    lines: list[list[str | float | None]] = [[*head]]
    for sample in found.samples:
        nearest: list[str | float] = ["", "", "", ""]
        if sample.nearest is not None and sample.nearest_of_real is not None:
            likenesses = [_rounded(one.similarity) for one in (sample.nearest, sample.nearest_of_real)]
            nearest = [sample.nearest.case, *likenesses, "yes" if sample.copy else "no"]
        rows = {"all": (sample.mean, sample.baseline_mean)}
        rows |= {name: (sample.figures[name], sample.baseline[name]) for name in found.modalities}
        for modality, parts in rows.items():
            figures = [_rounded(getattr(part, name)) for part in parts for name in COLUMNS]
            lines.append([sample.case, sample.seed, modality, *figures, *nearest])
    return csv_text(lines)


def _rounded(value: Any) -> Any:
    """Plain data with its numbers to five decimals."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value
