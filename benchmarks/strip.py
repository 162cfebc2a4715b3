"""A picture that compares the central axial slice of many results: a row a sampler, a column a number of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from medddpm.files import atomic_path
from PIL import Image, ImageDraw, ImageFont

MARGIN, LABEL, TITLE, NARROWEST = 6, 84, 60, 340
BLACK, WHITE, AMBER = (0, 0, 0), (235, 235, 235), (255, 190, 60)
SMALLEST = 96  # pixels of a panel's longer side; small grids are enlarged by a whole factor


def axial_slice(volume: np.ndarray, orientation: str) -> np.ndarray:
    """The central axial slice (rows, columns) of a network volume (D, H, W), the axes reversed to ``orientation``.

    Radiological: the patient's left on the right, front up.
    """
    axes = {letter: 2 - i for i, letter in enumerate(orientation)}
    through = next(axis for letter, axis in axes.items() if letter in "SI")
    down = next(letter for letter in axes if letter in "AP")
    across = next(letter for letter in axes if letter in "LR")
    picture = np.take(volume, volume.shape[through] // 2, axis=through)
    if axes[down] > axes[across]:
        picture = picture.T
    picture = picture if down == "P" else picture[::-1]
    return picture if across == "L" else picture[:, ::-1]


def write_strip(
    path: Path,
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[np.ndarray | None]],
    real: np.ndarray | None,
) -> None:
    """Write the strip as PNG. Pictures are 2D in [-1, 1]; None leaves a panel empty. ``real`` goes before the rest."""
    shown = [picture for row in rows.values() for picture in row if picture is not None]
    height, width = shown[0].shape
    factor = max(1, -(-SMALLEST // max(height, width)))
    size = (width * factor, height * factor)
    first = int(real is not None)
    right, bottom = _position(len(columns) + first, len(rows), size)
    sheet = Image.new("RGB", (max(right, NARROWEST), bottom), BLACK)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 4), title, fill=WHITE, font=ImageFont.load_default(14))
    synthetic = f"SYNTHETIC - not a patient{', except the first column' if first else ''}"
    draw.text((MARGIN, 22), synthetic, fill=AMBER, font=ImageFont.load_default(12))
    headings = [*(["real"] * first), *columns]
    for column, heading in enumerate(headings):
        left, _ = _position(column, 0, size)
        draw.text((left + size[0] / 2, TITLE - 12), heading, fill=WHITE, font=ImageFont.load_default(12), anchor="mm")
    for number, (name, pictures) in enumerate(rows.items()):
        _, top = _position(0, number, size)
        draw.text((MARGIN, top + size[1] / 2), name, fill=WHITE, font=ImageFont.load_default(13), anchor="lm")
        for column, picture in enumerate([*([real] * first), *pictures]):
            if picture is not None:
                sheet.paste(_panel(picture, size), _position(column, number, size))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _position(column: int, row: int, size: tuple[int, int]) -> tuple[int, int]:
    return LABEL + column * (size[0] + MARGIN), TITLE + row * (size[1] + MARGIN)


def _panel(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    gray = np.clip((picture.astype(np.float32) + 1) * 127.5, 0, 255).astype(np.uint8)
    return Image.fromarray(gray).resize(size, Image.Resampling.NEAREST)
