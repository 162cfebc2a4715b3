"""What an evaluation found, as data for JSON, CSV and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..monitor.neighbors import Nearest
from ..monitor.quality import Quality, overall

LabelTable = dict[str, dict[str, dict[str, float | None]]]  # modality, label, "real" or "synthetic"


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
    """Figures of all images together; None where there are too few. See ``distribution``.

    ``similarity_*``: MS-SSIM among the synthetic images of different masks, among the real ones, and among samples of
    the same mask. ``mmd``: between synthetic and real images; ``mmd_of_training``: between training and real images.
    """

    similarity_synthetic: float | None
    similarity_real: float | None
    similarity_same_mask: float | None
    mmd: float | None
    mmd_of_training: float | None


@dataclass(frozen=True)
class Evaluation:
    """The whole result. ``intensities``: mean intensity of each label by modality, -1 to 1, over all samples."""

    model: str
    weights_sha256: str
    dataset: str
    split: str
    sampler: str
    steps: int
    seed: int
    guidance: float
    modalities: tuple[str, ...]
    samples: tuple[SampleResult, ...]
    sets: SetFigures
    intensities: LabelTable
    doubts: tuple[str, ...] = ()

    @property
    def mean(self) -> Quality:
        """Over all samples and modalities."""
        return overall([sample.mean for sample in self.samples])

    @property
    def baseline_mean(self) -> Quality:
        """The baseline over all samples and modalities."""
        return overall([sample.baseline_mean for sample in self.samples])

    def of_modality(self, modality: str, baseline: bool = False) -> Quality:
        """Over all samples, of one modality."""
        parts: Sequence[Quality] = [(s.baseline if baseline else s.figures)[modality] for s in self.samples]
        return overall(parts)
