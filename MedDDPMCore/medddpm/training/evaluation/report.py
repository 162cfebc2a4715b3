"""The page of an evaluation: figures with a baseline, and all samples beside the real images."""

from __future__ import annotations

from pathlib import Path

from ...page import Cell, Page, number
from ...version import __version__
from ..monitor.quality import Quality
from ..monitor.samples import SHEET
from .interval import Estimate
from .measures import ALL, MEASURES, Measure, Measured
from .results import Evaluation, LabelTable, SampleResult
from .tables import FIGURES_CSV, FIGURES_JSON, MEASURES_CSV

REPORT = "report.html"
NOTICE = "Images marked SYNTHETIC are computed from masks, not images of patients. For research; not for diagnosis."
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
VALUES = ("Measure", "Real", "Synthetic", "Baseline", "Patients")
SHOWN = ("ms_ssim", "psnr", "l1", "sharpness", "label_error")
EXPLANATION = (
    "A sample need not equal the patient's image: the mask tells where the tumor is, not how the rest of the brain "
    "looks. Figures that compare voxel by voxel favor blurred images, so read them beside the baseline: an image that "
    "has the mean intensity of each label and nothing else. A good sample is about as near to the real image as this "
    "baseline, and sharp, which the baseline is not."
)
REALISM = (
    "Whether the images look like MRI, which a comparison voxel by voxel does not tell. Every value is a mean over "
    "patients with its 95 % interval. What is outside of the good range is marked."
)
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


def write_report(folder: Path, found: Evaluation) -> Path:
    """Write ``report.html`` beside the tables and samples of an evaluation; it opens offline."""
    page = Page(f"Evaluation of {found.model}", NOTICE)
    page.paragraph(
        f"{len({s.case for s in found.samples})} cases of the split '{found.split}' of {found.dataset}, "
        f"{len(found.samples)} samples with {found.sampler} in {found.steps} steps, first seed {found.seed}, "
        f"guidance {found.guidance:g}. {ANATOMY[found.anatomy]} {CONTRAST[found.contrast]} "
        f"Weights {found.weights_sha256[:12]}."
    )
    page.listing(found.doubts)
    _add_overview(page, found)
    _add_realism(page, found)
    _add_modalities(page, found)
    _add_cases(page, found)
    _add_intensities(page, found.intensities)
    _add_sets(page, found)
    _add_sheets(page, found)
    page.footer(f"Made by MedDDPM {__version__}. The same as data: {FIGURES_JSON}, {FIGURES_CSV}, {MEASURES_CSV}.")
    page.save(folder / REPORT)
    return folder / REPORT


def _add_overview(page: Page, found: Evaluation) -> None:
    page.heading("Overview")
    page.paragraph(f"{EXPLANATION} The means are those of {found.baseline_from}.")
    rows: list[list[str | Cell]] = [
        [heading, *(_figure(part, name, digits) for part in (found.mean, found.baseline_mean)), meaning]
        for name, heading, digits, meaning in FIGURES
    ]
    page.table(["Figure", "Synthetic", "Baseline", "Meaning"], rows, "Means over all samples and modalities.")


def _add_realism(page: Page, found: Evaluation) -> None:
    page.heading("Realism")
    page.paragraph(REALISM)
    of_all = [one for one in found.measures if one.modality == ALL]
    by_modality = [one for one in found.measures if one.modality != ALL]
    rows: list[list[str | Cell]] = []
    for name in dict.fromkeys(one.name for one in by_modality):
        ones = [found.measure(name, modality) for modality in found.modalities]
        rows.append([MEASURES[name].heading, *map(_judged, ones), *_meaning(MEASURES[name])])
    page.table(["Synthetic / real", *found.modalities, "Good", "Meaning"], rows)
    rows = [[*_values(one), _judged(one), *_meaning(MEASURES[one.name])] for one in of_all]
    page.table([*VALUES, "Compared", "Good", "Meaning"], rows, "All modalities together.")
    rows = [[*_values(one), one.modality] for one in by_modality]
    page.table([*VALUES, "Modality"], rows, "The values behind the ratios.")


def _values(one: Measured) -> list[str | Cell]:
    measure, kinds = MEASURES[one.name], (one.real, one.synthetic, one.baseline)
    patients = max((kind.patients for kind in kinds if kind is not None), default=0)
    cells = [Cell(_interval(kind, measure.digits), "number") for kind in kinds]
    return [measure.heading, *cells, Cell(str(patients), "number")]


def _judged(one: Measured) -> Cell:
    return Cell(_interval(one.judged, max(2, MEASURES[one.name].digits)), "warning" if one.good is False else "number")


def _interval(estimate: Estimate | None, digits: int) -> str:
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


def _add_modalities(page: Page, found: Evaluation) -> None:
    page.heading("By modality")
    rows: list[list[str | Cell]] = []
    for name in found.modalities:
        parts = (found.of_modality(name), found.of_modality(name, baseline=True))
        rows.append([name, *_pairs(*parts)])
    page.table(["Modality", *_headings()], rows, "Synthetic / baseline.")


def _add_cases(page: Page, found: Evaluation) -> None:
    page.heading("By case")
    rows: list[list[str | Cell]] = []
    for sample in found.samples:
        rows.append([*_names(sample), *_pairs(sample.mean, sample.baseline_mean), *_near(sample)])
    head = ["Case", "Seed", *_headings(), "Nearest training case", "similarity", "of the real image"]
    page.table(head, rows, "Synthetic / baseline, means over modalities.")
    page.paragraph(
        "The nearest training case: the correlation of what the mask does not tell, on a coarse grid. A sample that is "
        "much nearer to a training case than the held-out real image is repeats it."
    )


def _add_intensities(page: Page, table: LabelTable) -> None:
    page.heading("Mean intensity of each label")
    labels = list(next(iter(table.values())))
    rows: list[list[str | Cell]] = []
    for label in labels:
        cells = [table[modality][label] for modality in table]
        rows.append([label, *(_pair(cell["real"], cell["synthetic"], 2) for cell in cells)])
    page.table(["Label", *table], rows, "Real / synthetic, from -1 to 1: whether the contrast of the tumor is right.")


def _add_sets(page: Page, found: Evaluation) -> None:
    page.heading("All images together")
    sets = found.sets
    rows: list[list[str | Cell]] = [
        ["MMD² of training and real images", number(sets.mmd_of_training, 4), "what to compare with"],
        ["MMD² of synthetic and real images", number(sets.mmd, 4), "around 0: as if of the same kind"],
    ]
    page.table(["Figure", "Value", "Meaning"], rows)
    page.paragraph(
        "MMD: unbiased, Gaussian kernel with the median distance as its width (Gretton et al. 2012), on a coarse grid. "
        "It cannot be compared with published values. 3D-FID needs a pretrained network and is not computed."
    )


def _add_sheets(page: Page, found: Evaluation) -> None:
    page.heading("Samples beside the real images")
    for sample in found.samples:
        page.heading(f"{sample.case}, seed {sample.seed}", 3, _anchor(sample))
        page.picture(f"{sample.folder}/{SHEET}", f"Held-out case {sample.case}: rows real and synthetic by turns.")


def _headings() -> list[str]:
    return [heading for name, heading, _, _ in FIGURES if name in SHOWN]


def _pairs(made: Quality, baseline: Quality) -> list[Cell]:
    return [
        _pair(getattr(made, name), getattr(baseline, name), digits) for name, _, digits, _ in FIGURES if name in SHOWN
    ]


def _pair(first: float | None, second: float | None, digits: int) -> Cell:
    return Cell(f"{number(first, digits).text} / {number(second, digits).text}", "number")


def _figure(part: Quality, name: str, digits: int) -> Cell:
    return number(getattr(part, name), digits)


def _names(sample: SampleResult) -> list[Cell]:
    return [Cell(sample.case, link=f"#{_anchor(sample)}"), Cell(str(sample.seed), "number")]


def _near(sample: SampleResult) -> list[Cell]:
    if sample.nearest is None or sample.nearest_of_real is None:
        return [Cell("–"), Cell("–", "number"), Cell("–", "number")]
    kind = "error" if sample.copy else "number"
    note = " (copy)" if sample.copy else ""
    return [
        Cell(sample.nearest.case),
        Cell(f"{sample.nearest.similarity:.2f}{note}", kind),
        number(sample.nearest_of_real.similarity, 2),
    ]


def _anchor(sample: SampleResult) -> str:
    return f"sample-{sample.case}-{sample.seed}"
