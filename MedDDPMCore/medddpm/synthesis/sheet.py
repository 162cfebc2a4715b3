"""The contact sheet: three planes of every modality, once plain and once with the outlines of the mask, as a PNG."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_path
from ..geometry.volume import Volume
from ..labels.scheme import LabelScheme

PANEL = 264  # pixels of a panel's longer side
MARGIN, TITLE, FOOT = 8, 44, 30
BLACK, GRAY, WHITE, AMBER = (0, 0, 0), (150, 150, 150), (235, 235, 235), (255, 190, 60)
# plane -> (array axis through it, letters at left, right, top, bottom), for arrays in RAS order shown radiologically
PLANES = {"axial": (2, "RLAP"), "coronal": (1, "RLSI"), "sagittal": (0, "APSI")}


def write_sheet(
    path: Path, images: np.ndarray, modalities: tuple[str, ...], labels: Volume, scheme: LabelScheme, title: str
) -> None:
    """Draw and write the sheet.

    ``images``: (C, X, Y, Z) in [-1, 1] on the grid of ``labels``. The planes go through the middle of the tumor, or of
    the head where there is none; they are shown in radiological convention (the patient's right on the left).
    """
    ras = [_to_ras(image, labels.affine) for image in images]
    mask = _to_ras(labels.data, labels.affine)
    spacing = nib.affines.voxel_sizes(_ras_affine(labels))
    center = _center(mask, scheme)
    rows = []
    for outlined in (False, True):
        for plane, (axis, letters) in PLANES.items():
            panels = [
                _panel(image, mask if outlined else None, axis, center[axis], spacing, scheme, letters) for image in ras
            ]
            rows.append((plane, panels))
    sheet = _compose(rows, modalities, scheme, title)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _to_ras(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return nib.orientations.apply_orientation(data, nib.orientations.io_orientation(affine))


def _ras_affine(labels: Volume) -> np.ndarray:
    orientation = nib.orientations.io_orientation(labels.affine)
    return labels.affine @ nib.orientations.inv_ornt_aff(orientation, labels.shape)


def _center(mask: np.ndarray, scheme: LabelScheme) -> tuple[int, int, int]:
    """The voxel that the planes go through: on each axis the slice with most tumor, else the middle of the head."""
    tumor = np.isin(mask, scheme.tumor_values)
    if tumor.any():
        counts = [tumor.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        return tuple(int(c.argmax()) for c in counts)  # type: ignore[return-value]
    filled = np.argwhere(mask > 0) if (mask > 0).any() else np.array([[n // 2 for n in mask.shape]])
    return tuple(int(v) for v in np.median(filled, axis=0))  # type: ignore[return-value]


def _slice(data: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A RAS slice as an image: superior or anterior up; on the left the patient's right, or front if sagittal."""
    plane = np.take(data, index, axis=axis).T[::-1]
    return plane[:, ::-1]


def _panel(
    image: np.ndarray,
    mask: np.ndarray | None,
    axis: int,
    index: int,
    spacing: np.ndarray,
    scheme: LabelScheme,
    letters: str,
) -> Image.Image:
    gray = np.clip((_slice(image, axis, index) + 1) * 127.5, 0, 255).astype(np.uint8)
    across, up = (spacing[a] for a in range(3) if a != axis)
    height, width = gray.shape[0] * up, gray.shape[1] * across
    scale = PANEL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    panel = Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    if mask is not None:
        panel = _with_outlines(panel, _slice(mask, axis, index), scheme)
    draw = ImageDraw.Draw(panel)
    font = ImageFont.load_default(13)
    w, h = size
    for letter, position, anchor in zip(
        letters, ((4, h / 2), (w - 4, h / 2), (w / 2, 3), (w / 2, h - 3)), ("lm", "rm", "mt", "mb"), strict=True
    ):
        draw.text(position, letter, fill=GRAY, font=font, anchor=anchor)
    return panel


def _with_outlines(panel: Image.Image, labels: np.ndarray, scheme: LabelScheme) -> Image.Image:
    """The inner border of every label, one pixel of the panel wide, in the label's color."""
    drawn = np.asarray(panel).copy()
    enlarged = np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(panel.size, Image.Resampling.NEAREST))
    for label in scheme.labels:
        inside = enlarged == label.value
        border = inside & ~_eroded(inside)
        drawn[border] = label.color
    return Image.fromarray(drawn)


def _eroded(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _compose(
    rows: list[tuple[str, list[Image.Image]]], modalities: tuple[str, ...], scheme: LabelScheme, title: str
) -> Image.Image:
    columns = [max(panels[c].width for _, panels in rows) for c in range(len(modalities))]
    heights = [max(panel.height for panel in panels) for _, panels in rows]
    legend_width = 30 + sum(ImageFont.load_default(13).getlength(label.name) + 34 for label in scheme.labels)
    width = int(max(sum(columns) + MARGIN * (len(columns) + 1), legend_width, 640))
    sheet = Image.new("RGB", (width, TITLE + 22 + sum(heights) + MARGIN * (len(rows) + 1) + FOOT), BLACK)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 6), title, fill=WHITE, font=ImageFont.load_default(16))
    draw.text((MARGIN, 27), "SYNTHETIC - not a patient", fill=AMBER, font=ImageFont.load_default(13))
    lefts = [MARGIN + sum(columns[:c]) + MARGIN * c for c in range(len(columns))]
    for left, column, name in zip(lefts, columns, modalities, strict=True):
        draw.text((left + column / 2, TITLE + 14), name, fill=WHITE, font=ImageFont.load_default(15), anchor="mm")
    top = TITLE + 22 + MARGIN
    for (_, panels), height in zip(rows, heights, strict=True):
        for left, column, panel in zip(lefts, columns, panels, strict=True):
            sheet.paste(panel, (left + (column - panel.width) // 2, top + (height - panel.height) // 2))
        top += height + MARGIN
    _legend(draw, scheme, top + 8)
    return sheet


def _legend(draw: ImageDraw.ImageDraw, scheme: LabelScheme, top: int) -> None:
    font, left = ImageFont.load_default(13), MARGIN
    for label in scheme.labels:
        draw.rectangle((left, top + 2, left + 12, top + 12), fill=label.color)
        draw.text((left + 17, top), label.name, fill=WHITE, font=font)
        left += int(17 + font.getlength(label.name) + 17)
