"""The page of an evaluation: figures with a baseline, and all samples beside the real images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...files import write_text
from ...page import Cell, number, render
from ...version import __version__
from ..monitor.quality import Quality
from ..monitor.samples import SHEET
from .measures import ALL, MEASURES, Estimate, Measure, Measured
from .results import FIGURES_CSV, FIGURES_JSON, MEASURES_CSV, Evaluation, SampleResult

REPORT = "report.html"
# name, heading, digits, meaning
FIGURES = (
    ("ms_ssim", "MS-SSIM", 3, "structural similarity to the real image, whole volume; 1 is equal"),
    ("psnr", "PSNR (dB)", 1, "inside the outline; higher is nearer"),
    ("l1", "L1", 3, "mean absolute difference inside the outline, of a range from -1 to 1; lower is nearer"),
    ("mse", "MSE", 4, "mean squared difference inside the outline; lower is nearer"),
    ("mse_volume", "MSE, volume", 4, "mean squared difference of the whole volume; lower is nearer"),
    (
        "sharpness",
        "Sharpness",
        2,
        "strength of the finest detail over that of the real image; 1 is right, less blurred",
    ),
    ("label_error", "Label error", 3, "how far the mean intensity of each label is off; lower is nearer"),
)
VALUES = ["Measure", "Real", "Synthetic", "Baseline", "Patients"]
SHOWN = ("ms_ssim", "psnr", "l1", "sharpness", "label_error")
ANATOMY = {
    "mask": "The masks are taken whole.",
    "seed": "Of the masks, tumor and outline are taken; the rest of the anatomy comes from the bank.",
}
CONTRAST = {
    "seed": "The contrast is drawn for each image.",
    "mean": "The contrast is the mean one of the training cases.",
    "real": "The contrast is that of the real images.",
}
AGAINST = {"ratio": "synthetic / real", "difference": "synthetic less real", "value": "synthetic"}
Row = Sequence[str | Cell]


def write_report(folder: Path, found: Evaluation) -> Path:
    """Write ``report.html`` beside the tables and samples of an evaluation; it opens offline."""
    write_text(folder / REPORT, page(found))
    return folder / REPORT


def page(found: Evaluation) -> str:
    """The HTML of the report; pictures are at the paths that ``found`` names, relative to it."""
    of_all = [one for one in found.measures if one.modality == ALL]
    by_modality = [one for one in found.measures if one.modality != ALL]
    ratios: list[Row] = []
    for name in dict.fromkeys(one.name for one in by_modality):
        ones = [found.measure(name, modality) for modality in found.modalities]
        ratios.append([MEASURES[name].heading, *map(_judged, ones), *_meaning(MEASURES[name])])
    asked = found.request
    made = (
        f"{len({s.case for s in found.samples})} cases of the split '{asked.split}' of {Path(asked.dataset).name}, "
        f"{len(found.samples)} samples with {asked.sampler} in {asked.steps} steps, first seed {asked.seed}, "
        f"guidance {asked.guidance:g}. {ANATOMY[asked.anatomy]} {CONTRAST[asked.contrast]} "
        f"Weights {found.weights_sha256[:12]}."
    )
    return render(
        "evaluation.html.jinja",
        title=f"Evaluation of {found.model}",
        found=found,
        made=made,
        version=__version__,
        sheet_name=SHEET,
        tables=(FIGURES_JSON, FIGURES_CSV, MEASURES_CSV),
        values=VALUES,
        headings=[heading for name, heading, _, _ in FIGURES if name in SHOWN],
        overview=[
            [heading, *(number(getattr(part, name), digits) for part in (found.mean, found.baseline_mean)), meaning]
            for name, heading, digits, meaning in FIGURES
        ],
        ratios=ratios,
        of_all=[[*_values(one), _judged(one), *_meaning(MEASURES[one.name])] for one in of_all],
        by_modality=[[*_values(one), one.modality] for one in by_modality],
        modalities=[
            [name, *_pairs(found.of_modality(name), found.of_modality(name, baseline=True))]
            for name in found.modalities
        ],
        samples=[_sample(sample) for sample in found.samples],
        intensities=[
            [label, *(_pair(of[label]["real"], of[label]["synthetic"], 2) for of in found.intensities.values())]
            for label in next(iter(found.intensities.values()))
        ],
        sets=[
            ["MMD² of training and real images", number(found.sets.mmd_of_training, 4), "what to compare with"],
            ["MMD² of synthetic and real images", number(found.sets.mmd, 4), "around 0: as if of the same kind"],
        ],
    )


def _values(one: Measured) -> Row:
    measure, kinds = MEASURES[one.name], (one.real, one.synthetic, one.baseline)
    patients = max((kind.patients for kind in kinds if kind is not None), default=0)
    cells = [Cell(interval(kind, measure.digits), "number") for kind in kinds]
    return [measure.heading, *cells, Cell(str(patients), "number")]


def _judged(one: Measured) -> Cell:
    return Cell(
        interval(one.judged, max(2, MEASURES[one.name].digits)), "number warning" if one.good is False else "number"
    )


def interval(estimate: Estimate | None, digits: int) -> str:
    """A value with the bounds of its interval; a dash where there is none."""
    if estimate is None:
        return "–"
    bounds = "" if estimate.low is None else f" ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"
    return f"{estimate.value:.{digits}f}{bounds}"


def _meaning(measure: Measure) -> list[str]:
    if measure.good is None:
        return ["", measure.meaning]
    low, high = measure.good
    good = f"{low:.2g} or more" if high is None else f"{low:.2g} to {high:.2g}"
    return [f"{AGAINST[measure.against]} {good}", measure.meaning]


def _sample(sample: SampleResult) -> Row:
    near = [Cell("–"), Cell("–", "number"), Cell("–", "number")]
    if sample.nearest is not None and sample.nearest_of_real is not None:
        kind, note = ("error", " (copy)") if sample.copy else ("number", "")
        similarity = Cell(f"{sample.nearest.similarity:.2f}{note}", kind)
        near = [Cell(sample.nearest.case), similarity, number(sample.nearest_of_real.similarity, 2)]
    name = Cell(sample.case, link=f"#sample-{sample.case}-{sample.seed}")
    return [name, Cell(str(sample.seed), "number"), *_pairs(sample.mean, sample.baseline_mean), *near]


def _pairs(made: Quality, baseline: Quality) -> list[Cell]:
    shown = ((name, digits) for name, _, digits, _ in FIGURES if name in SHOWN)
    return [_pair(getattr(made, name), getattr(baseline, name), digits) for name, digits in shown]


def _pair(first: float | None, second: float | None, digits: int) -> Cell:
    return Cell(f"{number(first, digits).text} / {number(second, digits).text}", "number")
