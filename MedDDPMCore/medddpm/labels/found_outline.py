"""Which value of a label map is the outline of brain or head, and of which of the two, from sizes and places."""

from __future__ import annotations

import numpy as np

from .conventions import BRAIN, HEAD, outline_kind
from .outline import BRAIN_HEAD_LIMIT_ML
from .scheme import LabelScheme
from .sizes import OUTLINE_ML, OUTLINE_SPAN, LabelSizes


def find_outline(values: LabelSizes, scheme: LabelScheme) -> int | None:
    """The value that surrounds the others and is large, if there is one."""
    total = sum(values.voxels.values())
    for value in sorted(values.present, key=lambda v: -values.voxels[v]):
        if values.voxels[value] < 0.3 * total:
            return None
        if _large(values, value, scheme) and _surrounds(values, value, total):
            return value
    return None


def _large(values: LabelSizes, value: int, scheme: LabelScheme) -> bool:
    others = values.present - {value}
    if values.volume_ml(value) >= OUTLINE_ML:
        return True
    usual = (
        value == scheme.surround
        or not others
        or (value == 4 and others <= {1, 2, 3})
        or (value == 1 and others <= {2})
        or (value > 4 and others <= {1, 2, 3, 4})
    )
    return usual and values.span(value) >= OUTLINE_SPAN


def _surrounds(values: LabelSizes, value: int, total: int) -> bool:
    """Whether nearly all voxels of the other labels lie in the box of this one."""
    others = total - values.voxels[value]
    within = int(np.count_nonzero(values.labels[values.boxes[value]])) - values.voxels[value]
    return within >= 0.9 * others


def kind_of(values: LabelSizes, outline: int, scheme: LabelScheme) -> str:
    """Head or brain, by volume; one with the scheme's own value may be small (a child's head)."""
    if values.volume_ml(outline) > BRAIN_HEAD_LIMIT_ML:
        return HEAD
    known = outline == scheme.surround or values.volume_ml(outline) < OUTLINE_ML
    return outline_kind(scheme) if known else BRAIN
