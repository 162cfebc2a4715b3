"""Sheets as PNG: three planes of every modality, plain and with the mask outlined; real beside synthetic images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from ..files import atomic_path
from ..geometry.volume import Volume
from ..labels.scheme import LabelScheme
from ..parse import printable
from .planes import AMBER, GRAY, MARK, PLANES, REGION_COLOR, Case, legend_of

MARGIN, ROW_HEAD, TITLE, TITLE_SIZE, COLUMN_HEAD, LINE = 10, 76, 58, 14, 26, 20
BAR_MM = 50
Color = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (235, 235, 235)
NARROW = 2  # up to so many modalities the outlined pictures stand beside the plain ones, else below
WARNING = "SYNTHETIC - computed, not an image of a patient. Not for diagnosis."
PARTLY_WARNING = "PARTLY SYNTHETIC - region computed, the rest is the patient's own. Not for diagnosis."
PARTLY_MARK = "PARTLY SYNTHETIC"
REAL_TITLE, REAL_MARK = "REAL - images of a patient, as prepared for training.", "REAL"
FIRST_PICTURE = "First picture"  # of the PNG's texts: left, top, width and height of the axial picture, in pixels
COMPARISON_WARNING = "Rows marked SYNTHETIC are computed from the mask, not images of a patient. Not for diagnosis."


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
    """Draw the sheet (see ``draw_sheet``) and write it as PNG. Raises InputError where it cannot be written."""
    sheet = draw_sheet(images, modalities, labels, scheme, title, edited)
    save_sheet(sheet, path, _warning(modalities, edited, False))


def draw_sheet(
    images: np.ndarray,
    modalities: tuple[str, ...],
    labels: Volume,
    scheme: LabelScheme,
    title: str,
    edited: EditedPart | None = None,
    real: bool = False,
) -> Image.Image:
    """The sheet as a picture.

    ``images``: (C, X, Y, Z) in [-1, 1] on the grid of ``labels``, one for each of ``modalities``. The planes go through
    the tumor, or through the middle of the head where there is none; they are shown in radiological convention (the
    patient's right on the left), all at one scale. After a local edit they go through the edited region instead.
    ``real``: the images are a patient's own (of a dataset), and are marked as that.
    """
    case = Case(images, labels, scheme, None if edited is None else edited.region)
    marks = _marks(modalities, edited, real)
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
    legend = legend_of(scheme)
    legend += [] if edited is None else [("Inpainted region", REGION_COLOR)]
    titles = _warning(modalities, edited, real), title
    return compose(rows, heads, names, legend, titles, case.pixels_per_mm)


def _marks(modalities: tuple[str, ...], edited: EditedPart | None, real: bool) -> list[str]:
    """What stands below the pictures of each modality."""
    whole = REAL_MARK if real else MARK
    return [PARTLY_MARK if edited is not None and name in edited.modalities else whole for name in modalities]


def _warning(modalities: tuple[str, ...], edited: EditedPart | None, real: bool) -> str:
    """The line that nobody may overlook."""
    partly = PARTLY_MARK in _marks(modalities, edited, real)
    return PARTLY_WARNING if partly else REAL_TITLE if real else WARNING


def save_sheet(sheet: Image.Image, path: Path, description: str) -> None:
    """Write a sheet as PNG with ``description`` in its metadata. Raises InputError where it cannot be written."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", description)
    notes.add_text(FIRST_PICTURE, sheet.info.get(FIRST_PICTURE, ""))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", pnginfo=notes)


def compose(
    rows: list[list[Image.Image]],
    heads: list[tuple[str, str]],
    names: list[str],
    labels: list[tuple[str, Color]],
    titles: tuple[str, str],
    pixels_per_mm: float,
) -> Image.Image:
    """The sheet of pictures in rows and columns.

    ``heads``: two lines left of each row; ``names``: above the columns; ``labels``: name and color for the legend;
    ``titles``: the line in amber (what nobody may overlook) and the plain text below, which takes as many lines as it
    needs.
    """
    widths = [max(row[c].width for row in rows) for c in range(len(names))]
    heights = [max(panel.height for panel in row) for row in rows]
    width = max(ROW_HEAD + sum(widths) + MARGIN * (len(widths) + 1), 560)
    legend = _legend_lines(labels, width)
    plain = _wrapped(titles[1], TITLE_SIZE, width - 2 * MARGIN)
    head = TITLE + LINE * (len(plain) - 1)
    foot = LINE * (len(legend) + 2) + MARGIN
    sheet = Image.new("RGB", (width, head + COLUMN_HEAD + sum(heights) + MARGIN * len(rows) + foot), BLACK)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (MARGIN, 6), titles[0], 18, AMBER, width - 2 * MARGIN)
    for number, line in enumerate(plain):
        _text(draw, (MARGIN, 33 + LINE * number), line, TITLE_SIZE, WHITE, width - 2 * MARGIN)
    lefts = [ROW_HEAD + MARGIN + sum(widths[:c]) + MARGIN * c for c in range(len(widths))]
    for left, column, name in zip(lefts, widths, names, strict=True):
        _text(draw, (left + column / 2, head + 5), name, 15, WHITE, column, "ma")
    top = head + COLUMN_HEAD
    sheet.info[FIRST_PICTURE] = f"{lefts[0]} {top} {widths[0]} {heights[0]}"
    for row, words, height in zip(rows, heads, heights, strict=True):
        for number, (text, color) in enumerate(zip(words, (WHITE, GRAY), strict=True)):
            _text(draw, (MARGIN, top + height / 2 - 18 + 18 * number), text, 14, color, ROW_HEAD)
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
    text = shown = printable(text)
    while font.getlength(shown) > room and len(text) > 1:
        text = text[:-1]
        shown = text.rstrip() + "..."
    draw.text(at, shown, fill=color, font=font, anchor=anchor)


def _wrapped(text: str, size: int, room: float) -> list[str]:
    """The words of ``text`` in as few lines as fit into ``room`` pixels each."""
    font = ImageFont.load_default(size)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines or [""]


Entry = tuple[str, Color, int]  # name, color, pixels from the left


def _legend_lines(labels: list[tuple[str, Color]], width: int) -> list[list[Entry]]:
    """The labels, as many to a line as fit."""
    font = ImageFont.load_default(13)
    lines: list[list[Entry]] = [[]]
    left = MARGIN
    for name, color in ((printable(name), color) for name, color in labels):
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


def write_comparison(
    path: Path,
    real: np.ndarray,
    synthetic: np.ndarray,
    modalities: Sequence[str],
    labels: Volume,
    scheme: LabelScheme,
    title: str,
) -> np.ndarray:
    """Draw, write and return the sheet, (height, width, 3) uint8.

    A column for each modality, and for each plane a row of real and one of synthetic images; the axial ones once more
    with the outlines of the mask.

    ``real`` and ``synthetic``: (C, X, Y, Z) in [-1, 1] on the grid of ``labels``. The planes are those of the contact
    sheet. Raises InputError where the file cannot be written.
    """
    count = len(modalities)
    case = Case(np.concatenate([real, synthetic]), labels, scheme)
    kinds = ((REAL_MARK, case.images[:count]), (MARK, case.images[count:]))
    shown = [(plane, False) for plane in PLANES] + [(PLANES[0], True)]
    rows, heads = [], []
    for plane, outlined in shown:
        for mark, images in kinds:
            rows.append([case.panel(image, plane, outlined, mark) for image in images])
            heads.append((plane.name, mark.lower()))
    sheet = compose(rows, heads, list(modalities), legend_of(scheme), (COMPARISON_WARNING, title), case.pixels_per_mm)
    save_sheet(sheet, path, COMPARISON_WARNING)
    return np.asarray(sheet)
