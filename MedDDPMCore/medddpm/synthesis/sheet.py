"""The contact sheet: three planes of every modality, plain and with the outlines of the mask, as a PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from ..files import atomic_path
from ..geometry.volume import Volume
from ..labels.scheme import LabelScheme
from .planes import AMBER, GRAY, MARK, PLANES, REGION_COLOR, Case

MARGIN, ROW_HEAD, TITLE, COLUMN_HEAD, LINE = 10, 76, 58, 26, 20
BAR_MM = 50
Color = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (235, 235, 235)
NARROW = 2  # up to so many modalities the outlined pictures stand beside the plain ones, else below
WARNING = "SYNTHETIC - computed, not an image of a patient. Not for diagnosis."
PARTLY_WARNING = "PARTLY SYNTHETIC - region computed, the rest is the patient's own. Not for diagnosis."
PARTLY_MARK = "PARTLY SYNTHETIC"


@dataclass(frozen=True)
class EditedPart:
    """A local edit: ``region`` (bool, (X, Y, Z)) was made anew in ``modalities``, all else of them is real."""

    modalities: tuple[str, ...]
    region: np.ndarray


def write_sheet(
    path: Path,
    images: np.ndarray,
    modalities: tuple[str, ...],
    labels: Volume,
    scheme: LabelScheme,
    title: str,
    edited: EditedPart | None = None,
) -> None:
    """Draw and write the sheet.

    ``images``: (C, X, Y, Z) in [-1, 1] on the grid of ``labels``, one for each of ``modalities``. The planes go through
    the tumor, or through the middle of the head where there is none; they are shown in radiological convention (the
    patient's right on the left), all at one scale. After a local edit they go through the edited region instead.
    """
    case = Case(images, labels, scheme, None if edited is None else edited.region)
    marks = [PARTLY_MARK if edited is not None and name in edited.modalities else MARK for name in modalities]
    blocks = [
        [[case.panel(i, plane, outlined, m) for i, m in zip(case.images, marks, strict=True)] for plane in PLANES]
        for outlined in (False, True)
    ]
    names = list(modalities)
    if len(modalities) <= NARROW:
        rows = [plain + outlined for plain, outlined in zip(*blocks, strict=True)]
        names += [f"{name}, mask outlined" for name in modalities]
    else:
        rows = [row for block in blocks for row in block]
    heads = [(plane.name, case.position(plane)) for plane in PLANES] * (len(rows) // len(PLANES))
    warning = PARTLY_WARNING if PARTLY_MARK in marks else WARNING
    legend = [(label.name, label.color) for label in scheme.labels]
    legend += [] if edited is None else [("Region made anew", REGION_COLOR)]
    sheet = _compose(rows, heads, names, legend, (warning, title), case.pixels_per_mm)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", warning)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", pnginfo=notes)


def _compose(
    rows: list[list[Image.Image]],
    heads: list[tuple[str, str]],
    names: list[str],
    labels: list[tuple[str, Color]],
    titles: tuple[str, str],
    pixels_per_mm: float,
) -> Image.Image:
    widths = [max(row[c].width for row in rows) for c in range(len(names))]
    heights = [max(panel.height for panel in row) for row in rows]
    width = max(ROW_HEAD + sum(widths) + MARGIN * (len(widths) + 1), 560)
    legend = _legend_lines(labels, width)
    foot = LINE * (len(legend) + 2) + MARGIN
    sheet = Image.new("RGB", (width, TITLE + COLUMN_HEAD + sum(heights) + MARGIN * len(rows) + foot), BLACK)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (MARGIN, 6), titles[0], 18, AMBER, width - 2 * MARGIN)
    _text(draw, (MARGIN, 33), titles[1], 14, WHITE, width - 2 * MARGIN)
    lefts = [ROW_HEAD + MARGIN + sum(widths[:c]) + MARGIN * c for c in range(len(widths))]
    for left, column, name in zip(lefts, widths, names, strict=True):
        _text(draw, (left + column / 2, TITLE + 5), name, 15, WHITE, column, "ma")
    top = TITLE + COLUMN_HEAD
    for row, head, height in zip(rows, heads, heights, strict=True):
        for line, (text, color) in enumerate(zip(head, (WHITE, GRAY), strict=True)):
            _text(draw, (MARGIN, top + height / 2 - 18 + 18 * line), text, 14, color, ROW_HEAD)
        for left, column, panel in zip(lefts, widths, row, strict=True):
            sheet.paste(panel, (left + (column - panel.width) // 2, top + (height - panel.height) // 2))
        top += height + MARGIN
    _draw_foot(draw, legend, top, pixels_per_mm)
    return sheet


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    color: tuple[int, int, int],
    room: float,
    anchor: str = "la",
) -> None:
    """Text on one line, cut with three dots where it is longer than ``room`` pixels."""
    font = ImageFont.load_default(size)
    shown = text
    while font.getlength(shown) > room and len(text) > 1:
        text = text[:-1]
        shown = text.rstrip() + "..."
    draw.text(at, shown, fill=color, font=font, anchor=anchor)


Entry = tuple[str, Color, int]  # name, color, pixels from the left


def _legend_lines(labels: list[tuple[str, Color]], width: int) -> list[list[Entry]]:
    """The labels, as many to a line as fit."""
    font = ImageFont.load_default(13)
    lines: list[list[Entry]] = [[]]
    left = MARGIN
    for name, color in labels:
        wide = int(17 + font.getlength(name) + 20)
        if lines[-1] and left + wide > width:
            lines.append([])
            left = MARGIN
        lines[-1].append((name, color, left))
        left += wide
    return lines


def _draw_foot(draw: ImageDraw.ImageDraw, legend: list[list[Entry]], top: int, pixels_per_mm: float) -> None:
    """The legend, the scale bar and how the pictures lie."""
    font = ImageFont.load_default(13)
    for line in legend:
        for name, color, left in line:
            draw.rectangle((left, top + 3, left + 12, top + 13), fill=color)
            draw.text((left + 17, top), name, fill=WHITE, font=font)
        top += LINE
    long = round(BAR_MM * pixels_per_mm)
    draw.rectangle((MARGIN, top + 7, MARGIN + long, top + 10), fill=WHITE)
    draw.text((MARGIN + long + 8, top), f"{BAR_MM} mm", fill=WHITE, font=font)
    sides = (
        "R right, L left, A front, P back, S top, I bottom of the patient. Position of the planes as in the scanner."
    )
    draw.text((MARGIN, top + LINE), sides, fill=GRAY, font=font)
