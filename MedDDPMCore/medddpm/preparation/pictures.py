"""Pictures of a prepared case for the report: a strip of small ones, and the contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..config import ModelConfig
from ..files import atomic_path
from ..geometry.grid import from_network, labels_from_fractions
from ..geometry.volume import Volume
from ..synthesis.planes import GRAY, PLANES, Case
from ..synthesis.sheet import draw_sheet
from .facts import CaseFacts

STRIP_HEIGHT, NAME_HEIGHT, GAP = 168, 20, 6
LEAST_WIDTH = 90  # pixels: room for the name above a narrow picture
QUALITY = 88


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
    strip, sheet = folder / strip_name(facts.id), folder / sheet_name(facts.id)
    _save(_strip(Case(images, labels, template.scheme), template.modalities), strip)
    _save(draw_sheet(images, template.modalities, labels, template.scheme, facts.id, real=True), sheet)
    return strip, sheet


def _strip(case: Case, modalities: Sequence[str]) -> Image.Image:
    """The axial plane of every modality, then the two others of the first, all with the mask outlined."""
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


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, format="JPEG", quality=QUALITY, subsampling=0)
