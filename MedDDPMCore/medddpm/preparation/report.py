"""The report on a dataset: one HTML page that opens offline, beside the pictures that it shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..config import ModelConfig
from ..dataset import SPLITS
from ..files import atomic_path, write_text
from ..geometry.grid import from_network, labels_from_fractions
from ..geometry.volume import Volume
from ..labels.findings import WARNING, milliliters
from ..labels.scheme import LabelScheme
from ..page import render
from ..synthesis.planes import GRAY, PLANES, Case
from ..synthesis.sheet import draw_sheet
from .facts import CaseFacts, Flag

NAME, PICTURES = "report.html", "report"
# Pictures: a strip of small ones for each case, and its contact sheet.
STRIP_HEIGHT, NAME_HEIGHT, GAP = 168, 20, 6
LEAST_WIDTH = 90  # pixels: room for the name above a narrow picture
QUALITY = 88
# Charts, in units of their drawing.
WIDTH, HEIGHT = 260, 130
LEFT, RIGHT, TOP, BOTTOM = 28, 8, 8, 30
MAX_BARS = 14


@dataclass(frozen=True)
class ReportData:
    """What a report tells: the facts of all cases that were looked at, and what became of them.

    ``splits``: case -> split of those in the dataset; ``left_out``: case -> reason of the others, and of cases that
    could not be read. ``problems``: sentences on the dataset as a whole. ``options_text``: how it was made.
    """

    title: str
    facts: Sequence[CaseFacts]
    flags: Sequence[Flag]
    splits: Mapping[str, str]
    left_out: Mapping[str, str]
    problems: Sequence[str]
    template: ModelConfig
    options_text: Mapping[str, str]


def write_report(out: Path, data: ReportData) -> Path:
    """Write ``out/report.html``; returns its path. Raises InputError where it cannot be written.

    Every text from files is escaped; of persons it names no more than the ids of cases and patients.
    """
    path = out / NAME
    write_text(path, page(out, data))
    return path


def page(out: Path, data: ReportData) -> str:
    """The HTML of the report on the dataset in ``out``."""
    flags: dict[str, list[Flag]] = defaultdict(list)
    for flag in data.flags:
        flags[flag.case].append(flag)
    known = {case.id for case in data.facts}
    return render(
        "dataset.html.jinja",
        title=data.title,
        data=data,
        tiles=_tiles(data),
        warned=[flag for flag in data.flags if flag.severity == WARNING],
        kind=data.facts[0].mask.kind if data.facts else "head",
        charts=_charts(data.facts) if data.facts else [],
        cases=[_case(out, data, case, flags[case.id]) for case in data.facts],
        unseen={case: reason for case, reason in data.left_out.items() if case not in known},
    )


def _tiles(data: ReportData) -> list[tuple[str, str, str]]:
    """What is said first: name, figure and note."""
    flagged = len({flag.case for flag in data.flags if flag.severity == WARNING})
    tumors = [case.mask.tumor_ml for case in data.facts if case.mask.tumor_ml > 0]
    lost = sum(case.mask.lost_share > 0 for case in data.facts)
    counts = {split: n for split in SPLITS if (n := list(data.splits.values()).count(split))}
    patients = len({case.patient for case in data.facts if case.id in data.splits})
    return [
        ("In the dataset", f"{len(data.splits)}", f"{patients} patient{'' if patients == 1 else 's'}"),
        ("Split by patient", " / ".join(map(str, counts.values())) or "-", ", ".join(counts)),
        ("To check", f"{flagged}", f"{'case' if flagged == 1 else 'cases'} with a warning"),
        ("Left out", f"{len(data.left_out)}", "see each case" if data.left_out else "nothing was left out"),
        ("Tumor", f"{np.median(tumors):.3g} mL" if tumors else "none", f"median of {len(tumors)}" if tumors else ""),
        ("Cut by the grid", f"{lost}", f"{'case' if lost == 1 else 'cases'}, told with each"),
    ]


def _case(out: Path, data: ReportData, case: CaseFacts, flags: Sequence[Flag]) -> dict[str, Any]:
    """One case as the template shows it; ``pictures`` are paths relative to the page."""
    mask, scheme = case.mask, data.template.scheme
    tumor = [
        f"{scheme.label(value).name} {milliliters(ml)}"
        for value, ml in mask.labels_ml
        if ml > 0 and value in scheme.tumor_values
    ]
    parts = f" ({', '.join(tumor)})" if len(tumor) > 1 else ""
    sizes = (
        f"{mask.kind.capitalize()} {milliliters(mask.outline_ml)}",
        f"tumor {milliliters(mask.tumor_ml)}{parts}" if mask.tumor_ml > 0 else "no tumor",
        "outline found in the image" if mask.made else "outline from the mask",
        f"{milliliters(mask.lost_ml)} cut off ({mask.lost_share:.1%})" if mask.lost_share else "nothing cut off",
    )
    pictures = f"{PICTURES}/{strip_name(case.id)}", f"{PICTURES}/{sheet_name(case.id)}"
    return {
        "facts": case,
        "flags": flags,
        "warnings": sum(flag.severity == WARNING for flag in flags),
        "split": data.splits.get(case.id),
        "left_out": data.left_out.get(case.id),
        "pictures": pictures if all((out / name).is_file() for name in pictures) else None,
        "sizes": f"{'; '.join(sizes)}.",
        "spacings": "; ".join(sorted({" x ".join(f"{s:.3g}" for s in i.geometry.spacing) for i in case.images})),
    }


def _charts(facts: Sequence[CaseFacts]) -> list[tuple[str, str]]:
    """Sizes of head and tumor, and the intensity of every modality, over all cases."""
    charts = [(f"Volume of the {facts[0].mask.kind}", histogram([case.mask.outline_ml for case in facts], "mL"))]
    tumors = [case.mask.tumor_ml for case in facts if case.mask.tumor_ml > 0]
    charts += [("Volume of the tumor", histogram(tumors, "mL"))] if tumors else []
    for number, image in enumerate(facts[0].images):
        charts.append((f"Intensity of {image.modality}", curves([c.images[number].histogram for c in facts])))
    return charts


def histogram(values: Sequence[float], unit: str) -> str:
    """How often values fall into equal bins, as inline SVG. ``values`` must not be empty."""
    data = np.asarray(values, float)
    low, high = float(data.min()), float(data.max())
    words = f"{len(data)} cases from {low:.4g} to {high:.4g} {unit}, median {np.median(data):.4g} {unit}"
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    # As many bins as the number of values can fill.
    bins = int(np.clip(round(len(data) ** 0.5 * 2), 4, MAX_BARS))
    counts, edges = np.histogram(data, np.linspace(low, high, 1 + bins))
    wide = (WIDTH - LEFT - RIGHT) / len(counts)
    tops = [(i, _y(n / max(1, int(counts.max())))) for i, n in enumerate(counts.tolist()) if n]
    bars = [(LEFT + i * wide + 0.5, y, wide - 1, _y(0) - y) for i, y in tops]
    ends = f"{edges[0]:.4g}", f"{edges[-1]:.4g} {unit}"
    return _chart(words, ends, "cases", most=str(max(1, int(counts.max()))), bars=bars)


def curves(histograms: Sequence[Sequence[int]]) -> str:
    """The median and the middle 80 percent of distributions over [-1, 1], each case counting alike, as inline SVG."""
    shares = np.asarray(histograms, float)
    totals = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, totals, out=np.zeros_like(shares), where=totals > 0)
    low, middle, high = np.percentile(shares, [10, 50, 90], axis=0)
    most = max(1e-9, float(high.max()))
    x = LEFT + (np.arange(shares.shape[1]) + 0.5) * (WIDTH - LEFT - RIGHT) / shares.shape[1]

    def points(x: np.ndarray, shares: np.ndarray) -> str:
        return " ".join(f"{a:.1f},{_y(float(b)):.1f}" for a, b in zip(x, shares, strict=True))

    peak = (middle.argmax() + 0.5) / shares.shape[1]
    words = f"Distribution of intensity in {len(shares)} cases, most often at {peak:.0%} of the full range"
    band = f"{points(x, high / most)} {points(x[::-1], low[::-1] / most)}"
    return _chart(words, ("dark", "bright"), "share of voxels", band=band, curve=points(x, middle / most))


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _chart(words: str, ends: tuple[str, str], what: str, **drawn: Any) -> str:
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "floor": _y(0)}
    empty = {"bars": (), "band": "", "curve": "", "most": ""}
    return render("chart.svg.jinja", words=words, ends=ends, what=what, **(empty | frame | drawn))


def strip_name(case_id: str) -> str:
    """File name of the strip of a case."""
    return f"{case_id}-thumb.jpg"


def sheet_name(case_id: str) -> str:
    """File name of the contact sheet of a case."""
    return f"{case_id}-sheet.jpg"


def write_pictures(
    folder: Path, tensors: Mapping[str, np.ndarray], facts: CaseFacts, template: ModelConfig
) -> tuple[Path, Path]:
    """Draw the strip and the contact sheet of a case from its ``tensors`` (see ``medddpm.dataset``) into ``folder``.

    Both show the case as training sees it, on the model's grid, in radiological convention. Raises InputError where
    they cannot be written.
    """
    images = from_network(np.asarray(tensors["images"], np.float32))
    fractions = from_network(np.asarray(tensors["fractions"], np.float32)) / 255
    labels = Volume(labels_from_fractions(fractions, template.scheme.values), np.array(facts.grid_affine))
    paths = folder / strip_name(facts.id), folder / sheet_name(facts.id)
    strip = _strip(images, labels, template.scheme, template.modalities)
    sheet = draw_sheet(images, template.modalities, labels, template.scheme, facts.id, real=True)
    for picture, path in zip((strip, sheet), paths, strict=True):
        with atomic_path(path) as temporary:
            picture.save(temporary, format="JPEG", quality=QUALITY, subsampling=0)
    return paths


def _strip(images: np.ndarray, labels: Volume, scheme: LabelScheme, modalities: Sequence[str]) -> Image.Image:
    """The axial plane of every modality, then the two others of the first, all with the mask outlined."""
    case = Case(images, labels, scheme)
    named = [(name, image, PLANES[0]) for name, image in zip(modalities, case.images, strict=True)]
    named += [(f"{modalities[0]}, {plane.name.lower()}", case.images[0], plane) for plane in PLANES[1:]]
    pictures = [case.picture(image, plane, outlined=True) for _, image, plane in named]
    # One scale for all, as on the sheet.
    scale = STRIP_HEIGHT / max(picture.height for picture in pictures)
    small = [p.resize((max(1, round(p.width * scale)), max(1, round(p.height * scale)))) for p in pictures]
    widths = [max(picture.width, LEAST_WIDTH) for picture in small]
    strip = Image.new("RGB", (sum(widths) + GAP * (len(small) - 1), NAME_HEIGHT + STRIP_HEIGHT))
    draw, font, left = ImageDraw.Draw(strip), ImageFont.load_default(12), 0
    for (name, _, _), picture, width in zip(named, small, widths, strict=True):
        draw.text((left + width / 2, 4), name, fill=GRAY, font=font, anchor="ma")
        top = NAME_HEIGHT + (STRIP_HEIGHT - picture.height) // 2
        strip.paste(picture, (left + (width - picture.width) // 2, top))
        left += width + GAP
    return strip
