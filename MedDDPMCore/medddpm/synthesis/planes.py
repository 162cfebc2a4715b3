"""Slices of a case as pictures: which planes are shown, where they cut, and one panel of the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..geometry.volume import Volume, bounding_box
from ..labels.scheme import LabelScheme

LONGEST = 264  # pixels of the longest side of a panel
MARGIN_MM = 8.0  # shown around the head
VISIBLE = -0.9  # image values above this are something, not empty space
GRAY, AMBER = (150, 150, 150), (255, 190, 60)
REGION_COLOR = (225, 120, 255)
MARK = "SYNTHETIC"


@dataclass(frozen=True)
class Plane:
    """A plane through an array in RAS order: the axis across it, the letters at left, right, top and bottom of its
    picture (radiological: the patient's right on the left), and those of its position, for plus and minus.
    """

    name: str
    axis: int
    letters: str
    sides: str


PLANES = (Plane("Axial", 2, "RLAP", "SI"), Plane("Coronal", 1, "RLSI", "AP"), Plane("Sagittal", 0, "APSI", "RL"))


class Case:
    """Images and mask of one case in RAS order, cut to what there is to see, with the point the planes go through.

    ``region``: bool, shape of ``labels``; the only part that was made anew, which the planes then go through.
    """

    def __init__(
        self, images: np.ndarray, labels: Volume, scheme: LabelScheme, region: np.ndarray | None = None
    ) -> None:
        orientation = nib.orientations.io_orientation(labels.affine)
        affine = labels.affine @ nib.orientations.inv_ornt_aff(orientation, labels.shape)
        mask = nib.orientations.apply_orientation(labels.data, orientation)
        ras = [nib.orientations.apply_orientation(image, orientation) for image in images]
        self.spacing = nib.affines.voxel_sizes(affine)
        box = _seen(mask, ras, self.spacing)
        self.mask = mask[box]
        self.images = [image[box] for image in ras]
        self.scheme = scheme
        self.region = None if region is None else nib.orientations.apply_orientation(region, orientation)[box] > 0
        self.center = _center(self.mask, scheme) if self.region is None else _busiest([self.region])
        self._at = affine @ [*(c + b.start for c, b in zip(self.center, box, strict=True)), 1.0]
        # One scale for all planes, so that sizes compare and one scale bar serves all.
        self.pixels_per_mm = LONGEST / max(n * s for n, s in zip(self.mask.shape, self.spacing, strict=True))

    def position(self, plane: Plane) -> str:
        """Where a plane cuts, in scanner coordinates: "S 71 mm"."""
        value = round(float(self._at[plane.axis]))
        return f"{plane.sides[value < 0]} {abs(value)} mm"

    def panel(self, image: np.ndarray, plane: Plane, outlined: bool, mark: str = MARK) -> Image.Image:
        """The picture of a slice, framed by the letters of the patient's sides, with ``mark`` below it."""
        return _framed(self.picture(image, plane, outlined), plane, mark)

    def picture(self, image: np.ndarray, plane: Plane, outlined: bool) -> Image.Image:
        """The slice of ``image`` (RAS order, [-1, 1]) in a plane, with outlines or not."""
        gray = np.clip((_slice(image, plane, self.center) + 1) * 127.5, 0, 255).astype(np.uint8)
        across, up = (self.spacing[a] * self.pixels_per_mm for a in range(3) if a != plane.axis)
        size = (max(1, round(gray.shape[1] * across)), max(1, round(gray.shape[0] * up)))
        panel = Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC).convert("RGB")
        if outlined:
            region = None if self.region is None else _slice(self.region, plane, self.center)
            panel = _with_outlines(panel, _slice(self.mask, plane, self.center), self.scheme, region)
        return panel


def legend_of(scheme: LabelScheme) -> list[tuple[str, tuple[int, int, int]]]:
    """Name and color of what is outlined: the tumor parts, and brain or head; tissues would hide the picture."""
    return [(label.name, label.color) for label in scheme.labels if label.tumor or label.value == scheme.surround]


def _seen(mask: np.ndarray, images: Sequence[np.ndarray], spacing: np.ndarray) -> tuple[slice, slice, slice]:
    """The box of everything in the mask or visible in an image, and a margin."""
    shown = np.logical_or.reduce([mask > 0, *(image > VISIBLE for image in images)])
    box = bounding_box(shown) or tuple(slice(0, n) for n in mask.shape)
    x, y, z = (
        slice(max(0, part.start - extra), min(n, part.stop + extra))
        for part, n, extra in zip(box, mask.shape, np.rint(MARGIN_MM / spacing).astype(int).tolist(), strict=True)
    )
    return x, y, z


def _center(mask: np.ndarray, scheme: LabelScheme) -> tuple[int, int, int]:
    """On each axis the slice that shows most of the tumor, every part counted alike whatever its size; without a tumor
    the middle of the head.
    """
    parts = [mask == value for value in scheme.tumor_values]
    parts = [part for part in parts if part.any()]
    if parts:
        return _busiest(parts)
    filled = np.argwhere(mask > 0) if (mask > 0).any() else np.array([[n // 2 for n in mask.shape]])
    return tuple(int(v) for v in np.median(filled, axis=0))  # type: ignore[return-value]


def _busiest(parts: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """On each axis the slice with the largest shares of ``parts``, none of which is empty; the first where all are."""
    others = [tuple(a for a in range(3) if a != axis) for axis in range(3)]
    shares = [sum(part.sum(axis=across) / max(1, part.sum()) for part in parts) for across in others]
    return tuple(int(np.argmax(share)) for share in shares)  # type: ignore[return-value]


def _slice(data: np.ndarray, plane: Plane, center: tuple[int, int, int]) -> np.ndarray:
    """A slice as a picture: superior or anterior up; on the left the patient's right, or front if sagittal."""
    return np.take(data, center[plane.axis], axis=plane.axis).T[::-1, ::-1]


def _with_outlines(
    panel: Image.Image, labels: np.ndarray, scheme: LabelScheme, region: np.ndarray | None
) -> Image.Image:
    """Lines around the outline, every tumor part and the region, just outside of each, so that nothing is covered."""
    drawn = np.asarray(panel).copy()
    enlarged = _enlarged(labels, panel.size)
    if region is not None:
        drawn[_ring(_enlarged(region, panel.size) > 0, 1)] = REGION_COLOR
    drawn[_ring(enlarged > 0, 1)] = scheme.label(scheme.surround).color
    for value in scheme.tumor_values:
        drawn[_ring(enlarged == value, 2)] = scheme.label(value).color
    return Image.fromarray(drawn)


def _enlarged(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))


def _ring(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels within ``width`` of a mask, but outside of it."""
    grown = mask
    for _ in range(width):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~mask


def _framed(panel: Image.Image, plane: Plane, mark: str) -> Image.Image:
    """The panel with room around it for the letters of the sides and the mark that it is synthetic."""
    side, head, foot = 15, 16, 34
    framed = Image.new("RGB", (panel.width + 2 * side, panel.height + head + foot))
    framed.paste(panel, (side, head))
    draw, font = ImageDraw.Draw(framed), ImageFont.load_default(13)
    w, h = framed.size
    middle = head + panel.height / 2
    places = ((2, middle, "lm"), (w - 2, middle, "rm"), (w / 2, 1, "ma"), (w / 2, h - foot + 1, "ma"))
    for letter, (x, y, anchor) in zip(plane.letters, places, strict=True):
        draw.text((x, y), letter, fill=GRAY, font=font, anchor=anchor)
    draw.text((w / 2, h - 1), mark, fill=AMBER, font=ImageFont.load_default(10), anchor="md")
    return framed
