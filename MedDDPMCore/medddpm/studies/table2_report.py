"""Table II as a page, as CSV and as Markdown: the same figures, and the paper's beside them."""

from __future__ import annotations

from pathlib import Path

from ..files import csv_text, write_text
from ..models.segmenter import REGIONS
from ..page import Cell, markdown_table, render
from ..version import __version__
from .nnunet import PLAN
from .results import FIGURES, ArmResult, Table2

PAGE, CSV, MARKDOWN = "table2.html", "table2.csv", "table2.md"
HEADINGS = ("Dice", "IoU", "Accuracy", "Recall", "Precision")
ARM_HEAD = ("Arm", "Real cases", "Synthetic cases", *HEADINGS)
PAIRED_HEAD = ("Arm", "against", "Difference of Dice", "p", "p, Holm", "Patients")
PAPER_HEAD = ("Images", "Trained on", "Dice", "IoU", "Recall (there also Accuracy)", "Precision")
PAPER = (
    ("100", "Real images", "0.2805", "0.2125", "0.2493", "0.5100"),
    ("1000", "Augmented images", "0.4442", "0.3509", "0.4416", "0.7700"),
    ("1000", "DiscoGAN", "0.3177", "0.2387", "0.3062", "0.6300"),
    ("1000", "Pix2Pix", "0.1870", "0.1264", "0.1759", "0.6300"),
    ("1000", "Med-DDPM", "0.3593", "0.2758", "0.3675", "0.6600"),
    ("1000", "Med-DDPM + DiscoGAN", "0.3762", "0.2969", "0.3550", "0.6400"),
    ("1000", "Med-DDPM + Pix2Pix", "0.3056", "0.2362", "0.2561", "0.5800"),
    ("1000", "DiscoGAN + Pix2Pix", "0.3405", "0.2566", "0.3006", "0.6800"),
    ("1000", "Med-DDPM + DiscoGAN + Pix2Pix", "0.3648", "0.2891", "0.3554", "0.6200"),
    ("2000", "Augmented images", "0.4688", "0.3745", "0.4415", "0.7800"),
    ("2000", "DiscoGAN", "0.3558", "0.2658", "0.3356", "0.7200"),
    ("2000", "Pix2Pix", "0.2122", "0.1467", "0.2032", "0.5500"),
    ("2000", "Med-DDPM", "0.3746", "0.2879", "0.3568", "0.7200"),
    ("2000", "Med-DDPM + DiscoGAN", "0.4389", "0.3417", "0.4225", "0.7500"),
    ("2000", "Med-DDPM + Pix2Pix", "0.3346", "0.2549", "0.2772", "0.6600"),
    ("2000", "DiscoGAN + Pix2Pix", "0.3441", "0.2650", "0.3027", "0.6300"),
    ("2000", "Med-DDPM + DiscoGAN + Pix2Pix", "0.4436", "0.3537", "0.4485", "0.7300"),
    ("5000", "Augmented images", "0.4704", "0.3796", "0.4441", "0.7700"),
    ("5000", "DiscoGAN", "0.3379", "0.2578", "0.3091", "0.6300"),
    ("5000", "Pix2Pix", "0.2170", "0.1447", "0.2206", "0.7200"),
    ("5000", "Med-DDPM", "0.3563", "0.2733", "0.3349", "0.6900"),
    ("5000", "Med-DDPM + DiscoGAN", "0.4236", "0.3298", "0.3837", "0.7300"),
    ("5000", "Med-DDPM + Pix2Pix", "0.3823", "0.2856", "0.3229", "0.7800"),
    ("5000", "DiscoGAN + Pix2Pix", "0.3955", "0.3033", "0.3527", "0.6900"),
    ("5000", "Med-DDPM + DiscoGAN + Pix2Pix", "0.4443", "0.3511", "0.4581", "0.7800"),
)
PAPER_SENTENCE = (
    "Table II of the paper, means as printed there. Other data (whole-head T1ce of 128 x 128 x 128 voxels of 1.5 mm, "
    "small lesions, 100 images to train on and 100 to test) and 100 epochs each, so that arms with more images were "
    "trained for longer: the order of the arms can be compared, the numbers cannot. There, accuracy equals recall in "
    "every row, so it is not the share of right voxels."
)
MEANINGS = (
    "Mean over patients, then mean ± standard deviation over trainings from different seeds.",
    "Accuracy: share of the voxels inside the outline that are right, be they tumor or not. Most voxels are no tumor, "
    "so it is high for a segmenter that finds nothing, too.",
    "Precision is 0 where nothing is found. A region that a patient does not have does not count for that patient.",
)


def write_table2(found: Table2) -> Path:
    """Write page, CSV and Markdown into the study's folder; returns the path of the page."""
    out = Path(found.request.output)
    write_text(out / CSV, _csv(found))
    write_text(out / MARKDOWN, _markdown(found))
    page = render(
        "table2.html.jinja",
        title="Table II: segmenters trained on real and synthetic cases",
        made=[made(found), *MEANINGS],
        doubts=found.doubts,
        arm_head=ARM_HEAD,
        regions=[(_heading(region), _numbers(arms(found, region), 1)) for region in found.regions],
        paired_head=PAIRED_HEAD,
        paired=_numbers(paired(found), 2),
        paired_sentence=paired_sentence(found),
        paper_head=PAPER_HEAD,
        paper=_numbers(PAPER, 2),
        paper_sentence=PAPER_SENTENCE,
        sheets=found.sheets,
        nnunet=f"nnunet/{PLAN}" if found.request.nnunet else "",
        tables=(CSV, MARKDOWN),
        version=__version__,
    )
    write_text(out / PAGE, page)
    return out / PAGE


def made(found: Table2) -> str:
    """What was computed of what."""
    asked = found.request
    return (
        f"{len(set(found.patients.values()))} patients of the split '{asked.split}' of {found.dataset} ({found.grid}). "
        f"A 3D U-Net with {asked.channels} channels on the first level, on voxels of {found.voxel}, trained for "
        f"{asked.iterations} steps of {asked.batch} case(s) in every arm, by binary cross-entropy, from {asked.seeds} "
        f"seed(s), the first {asked.seed}. Synthetic cases have masks made of the training cases': tumors moved and "
        "scaled, or new lesions."
    )


def arms(found: Table2, region: str) -> list[list[str]]:
    """A line for each arm."""
    return [
        [one.arm.name, str(one.real), str(one.synthetic), *(_cell(found, one, region, name) for name in FIGURES)]
        for one in found.arms
    ]


def paired(found: Table2) -> list[list[str]]:
    """A line for each pair of arms."""
    return [
        [one.first, one.second, f"{one.difference:+.3f}", f"{one.p:.3g}", f"{one.adjusted:.3g}", str(one.patients)]
        for one in found.paired()
    ]


def paired_sentence(found: Table2) -> str:
    """What the test is, and what so many patients can show at best."""
    patients = found.paired()[0].patients if len(found.arms) > 1 else 0
    return (
        "Wilcoxon's signed-rank test of the Dice of the whole tumor, the mean over trainings, of the same patients; "
        f"two-sided, and adjusted for the number of pairs (Holm). With {patients} patients p cannot be below "
        f"{2 / 2**patients:.2g}."
    )


def _cell(found: Table2, one: ArmResult, region: str, figure: str) -> str:
    mean, deviation = found.over_seeds(one, region, figure)
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def _heading(region: str) -> str:
    return REGIONS[region].capitalize()


def _numbers(lines: list[list[str]] | tuple[tuple[str, ...], ...], texts: int) -> list[list[str | Cell]]:
    return [[*line[:texts], *(Cell(text, "number") for text in line[texts:])] for line in lines]


def _markdown(found: Table2) -> str:
    parts = ["# Table II: segmenters trained on real and synthetic cases", made(found), *MEANINGS]
    parts += ["\n".join(f"- {doubt}" for doubt in found.doubts)] if found.doubts else []
    for region in found.regions:
        parts += [f"## {_heading(region)}", markdown_table(ARM_HEAD, arms(found, region))]
    if len(found.arms) > 1:
        parts += ["## Pairs of arms", paired_sentence(found), markdown_table(PAIRED_HEAD, paired(found))]
    parts += ["## The paper's figures", PAPER_SENTENCE, markdown_table(PAPER_HEAD, PAPER)]
    return "\n\n".join(parts) + "\n"


def _csv(found: Table2) -> str:
    """A line for each region of each test case, of each training of each arm."""
    scale = ("iterations", "batch", "voxel_mm", "channels")
    asked = [getattr(found.request, name) for name in scale]
    lines: list[list[str | float | None]] = [
        ["arm", "real_cases", "synthetic_cases", "augmentation", *scale, "seed", "case", "patient", "region", *FIGURES]
    ]
    for one in found.arms:
        for seed, run in enumerate(one.runs, found.request.seed):
            head: list[str | float | None] = [one.arm.name, one.real, one.synthetic, one.arm.augmentation, *asked, seed]
            for case, regions in run.items():
                for region, figures in regions.items():
                    values = [round(figures[name], 5) for name in FIGURES]
                    lines.append([*head, case, found.patients[case], region, *values])
    return csv_text(lines)
