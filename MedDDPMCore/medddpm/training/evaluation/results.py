"""What an evaluation found, as data for JSON, CSV and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..monitor.neighbors import Nearest
from ..monitor.quality import Quality, overall
from .measures import ALL, Measured, Reading

MODEL, TRAINING, EVALUATED = (
    "the model's training data",
    "the dataset's training cases",
    "the evaluated cases themselves",
)
LabelTable = dict[str, dict[str, dict[str, float | None]]]  # modality, label, "real" or "synthetic"


def undefined(terms: Mapping[str, Sequence[float]]) -> list[str]:
    """A sentence where MS-SSIM is not defined. ``terms``: what was compared -> the lowest term of each comparison."""
    counts = {what: [term for term in found if term < 0] for what, found in terms.items()}
    told = [
        f"{len(below)} of {len(terms[what])} comparisons of {what} (lowest term {min(below):.4f})"
        for what, below in counts.items()
        if below
    ]
    if not told:
        return []
    return [
        "MS-SSIM is not defined where images are opposite at one of its scales (a negative term), and counts as 0 "
        f"there, as in MONAI: {', '.join(told)}."
    ]


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
    """The whole result. ``intensities``: mean intensity of each label by modality, -1 to 1, over all samples.

    ``readings`` are the single values behind ``measures``. ``baseline_from``: whose label means the baseline has.
    """

    model: str
    weights_sha256: str
    dataset: str
    split: str
    sampler: str
    steps: int
    seed: int
    guidance: float
    anatomy: str
    contrast: str
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
