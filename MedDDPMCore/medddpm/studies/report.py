"""Table I as a page, as CSV and as Markdown: the same figures, and the paper's beside them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from ..files import csv_text, write_text
from ..page import Cell, markdown_table, render
from ..training.evaluation.measures import ALL, MEASURES, REAL, Estimate
from ..training.evaluation.report import AGAINST, interval
from ..version import __version__
from .results import JUDGED, Figure, Row, Table1

PAGE, CSV, MARKDOWN = "table1.html", "table1.csv", "table1.md"
# name, heading, digits, meaning
COLUMNS = (
    ("mse", "MSE", 4, "mean squared difference to the patient's own image, whole volume, of a range from -1 to 1"),
    (
        "mmd",
        "MMD²",
        4,
        "unbiased; Gaussian kernel of the median distance (Gretton et al. 2012) on images averaged to 24 voxels a side",
    ),
    ("fid", "3D-FID", 2, "squared Fréchet distance of the network's features, mean over modalities"),
    ("fid_equalized", "3D-FID, equalized", 2, "the same after histogram equalization in 256 bins inside the outline"),
    ("among_masks", "MS-SSIM among images", 3, "each image with that of the next mask; as the real images' is right"),
    ("among_samples", "MS-SSIM among samples", 3, "of one mask; 1: the noise changes nothing"),
    ("frd", "FRD", 2, "logarithm of the squared Fréchet distance of radiomics features, mean over modalities"),
)
PAPER = (
    ("Method", "MSE", "MMD", "3D-FID", "MS-SSIM"),
    ("DiscoGAN", "0.0554 ± 0.0001", "4.7598 ± 2.3593", "257.1587 ± 0.0588", "0.4342 ± 0.0009"),
    ("Pix2Pix", "0.0668 ± 7.4882", "6.0538 ± 1.3325", "307.1682 ± 19.9522", "0.3032 ± 0.0003"),
    ("Med-DDPM", "0.0548 ± 0.0001", "4.1909 ± 2.6069", "249.713 ± 17.9522", "0.4358 ± 0.0010"),
    ("Real", "–", "–", "–", "0.4728 ± 0.0013"),
)
PAPER_SENTENCE = (
    "Table I of the paper, as printed there. Other data (208 whole-head T1ce images, 128 x 128 x 128 voxels of 1.5 mm, "
    "models trained on 1,292 images), another 3D-FID (MedicalNet; its histogram equalization is not described) and an "
    "MMD without a stated kernel: the order of the models can be compared, the numbers cannot."
)
INTERVALS = (
    "In parentheses: the 95 % interval of the bootstrap over patients. Those of MMD², 3D-FID and FRD are without the "
    "bias of the resamples, which have fewer different patients. With few patients, Fréchet distances are too large "
    "and intervals too narrow: compare models on the same masks only."
)


def write_table1(found: Table1) -> Path:
    """Write page, CSV and Markdown into the study's folder; returns the path of the page."""
    out = Path(found.request.output)
    write_text(out / CSV, table_csv(found))
    write_text(out / MARKDOWN, markdown(found))
    write_text(out / PAGE, page(found))
    return out / PAGE


def made(found: Table1) -> list[str]:
    """What was computed of what, in sentences."""
    asked = found.request
    features = (
        f"3D-FID: {found.network}, weights {found.weights_sha256[:12]}." if found.network else "3D-FID: left out."
    )
    radiomics = f"FRD: {found.radiomics}." if found.radiomics else "FRD: left out."
    return [
        f"{len(found.cases)} masks of {found.patients} patients, split '{asked.split}' of {found.dataset} "
        f"({found.grid}; {', '.join(found.modalities)}), {asked.samples} sample(s) a mask, first seed {asked.seed}. "
        f"{features} {radiomics}",
        INTERVALS,
    ]


def overview(found: Table1) -> list[list[str]]:
    """The table with its head; a line for each model and for the real images."""
    shown = [column for column in COLUMNS if any(row.figure(column[0]) for row in found.rows)]
    lines = [["Model", *(heading for _, heading, _, _ in shown)]]
    for row in found.rows:
        lines.append([row.name, *(_text(row.figure(name), digits) for name, _, digits, _ in shown)])
    real = [_text(found.rows[0].figure(name, REAL), digits) for name, _, digits, _ in shown]
    return [*lines, ["Real images", *real]]


def measures(found: Table1) -> list[list[str | Cell]]:
    """What ``medddpm evaluate`` judges, a column for each model; what is outside of the good range is marked."""
    pairs = dict.fromkeys((f.name, f.modality) for row in found.rows for f in row.figures if f.kind == JUDGED)
    lines: list[list[str | Cell]] = []
    for name, modality in pairs:
        measure = MEASURES[name]
        low, high = measure.good or (None, None)
        good = "" if low is None else f"{low:.2g} or more" if high is None else f"{low:.2g} to {high:.2g}"
        cells = []
        for row in found.rows:
            one = row.figure(name, JUDGED, modality)
            poor = one is not None and low is not None and (one.value < low or (high is not None and one.value > high))
            cells.append(Cell(_text(one, max(2, measure.digits)), "number warning" if poor else "number"))
        heading = measure.heading if modality == ALL else f"{measure.heading}, {modality}"
        lines.append([heading, *cells, f"{AGAINST[measure.against]} {good}".strip()])
    return lines


def page(found: Table1) -> str:
    """The HTML of the study; pictures are those of the samples, relative to it."""
    head, *lines = overview(found)
    kept = [column for column in COLUMNS if column[1] in head]
    cases = {case: [(row.name, _sheet(row, case)) for row in found.rows] for case in found.cases}
    return render(
        "table1.html.jinja",
        title="Table I: models on the same masks",
        made=made(found),
        doubts=_doubts(found),
        head=head,
        lines=[[line[0], *(Cell(cell, "number") for cell in line[1:])] for line in lines],
        meanings=[(heading, meaning) for _, heading, _, meaning in kept],
        paper_head=PAPER[0],
        paper=[[line[0], *(Cell(cell, "number") for cell in line[1:])] for line in PAPER[1:]],
        paper_sentence=PAPER_SENTENCE,
        measures_head=["Measure", *(row.name for row in found.rows), "Good"],
        measures=measures(found),
        models=[[row.name, row.model, row.sampler, str(row.steps), row.weights_sha256[:12]] for row in found.rows],
        cases=cases,
        tables=(CSV, MARKDOWN),
        version=__version__,
    )


def markdown(found: Table1) -> str:
    """The table, the paper's and the sentences, as Markdown."""
    head, *lines = overview(found)
    meanings = [f"- {heading}: {meaning}" for _, heading, _, meaning in COLUMNS if heading in head]
    parts = ["# Table I: models on the same masks", *made(found), markdown_table(head, lines), "\n".join(meanings)]
    parts += ["\n".join(f"- {sentence}" for sentence in _doubts(found))] if _doubts(found) else []
    parts += [markdown_table(["Measure", *(row.name for row in found.rows), "Good"], measures(found))]
    parts += ["## The paper's figures", PAPER_SENTENCE, markdown_table(PAPER[0], PAPER[1:])]
    return "\n\n".join(parts) + "\n"


def table_csv(found: Table1) -> str:
    """A line for each figure of each model."""
    names = [field.name for field in fields(Figure)]
    lines: list[list[str | float | None]] = [["model", *names, "weights_sha256", "feature_network"]]
    for row in found.rows:
        for figure in row.figures:
            network = (
                found.network if figure.name.startswith("fid") else found.radiomics if figure.name == "frd" else ""
            )
            values = [getattr(figure, name) for name in names]
            lines.append([row.name, *values, row.weights_sha256, network])
    return csv_text(lines)


def _text(figure: Figure | None, digits: int) -> str:
    one = None if figure is None else Estimate(figure.value, figure.low, figure.high, figure.patients)
    return interval(one, digits)


def _doubts(found: Table1) -> list[str]:
    """All sentences: those that hold for every model once, the others with the model's name."""
    told = [(row.name, sentence) for row in found.rows for sentence in row.doubts]
    common = {sentence for _, sentence in told if all(sentence in row.doubts for row in found.rows)}
    named = (sentence if sentence in common or name in sentence else f"{name}: {sentence}" for name, sentence in told)
    return list(dict.fromkeys([*found.doubts, *named]))


def _sheet(row: Row, case: str) -> str:
    """The first sample's picture of a case."""
    return next((sheet for sheet in row.sheets if f"/cases/{case}/" in sheet), "")
