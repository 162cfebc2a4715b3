"""The comparison sheet: the real images of a case beside the synthetic ones made from its mask, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..geometry.volume import Volume
from ..labels.scheme import LabelScheme
from .planes import MARK, PLANES, Case, Plane, legend_of
from .sheet import REAL_MARK, compose, save_sheet

WARNING = "Rows marked SYNTHETIC are computed from the mask, not images of a patient. Not for diagnosis."


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
            rows.append(_row(case, images, plane, outlined, mark))
            heads.append((plane.name, mark.lower()))
    sheet = compose(rows, heads, list(modalities), legend_of(scheme), (WARNING, title), case.pixels_per_mm)
    save_sheet(sheet, path, WARNING)
    return np.asarray(sheet)


def _row(case: Case, images: Sequence[np.ndarray], plane: Plane, outlined: bool, mark: str) -> list[Image.Image]:
    return [case.panel(image, plane, outlined, mark) for image in images]
