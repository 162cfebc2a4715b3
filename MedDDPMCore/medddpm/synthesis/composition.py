"""Tissues put around a tumor, as the label fractions that a model is told."""

from __future__ import annotations

import numpy as np

from ..anatomy.completion import complete_anatomy
from ..anatomy.numbering import TISSUES
from ..geometry.grid import labels_from_fractions
from ..geometry.volume import Volume
from ..labels.scheme import LabelScheme


def around_tumor(placed: np.ndarray, tissues: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """Fractions (L, X, Y, Z): tumor as in ``placed``, of the same shape, and around it ``tissues`` (8, X, Y, Z).

    These share what the tumor leaves of the outline; where there are none, it is the surround.
    """
    fractions = placed.copy()
    tumor = [scheme.values.index(value) for value in scheme.tumor_values]
    free = np.clip(placed.sum(axis=0), 0, 1) - placed[tumor].sum(axis=0)
    total = tissues.sum(axis=0)
    share = np.where(total > 0, free / np.maximum(total, 1e-6), 0)
    for value, tissue in zip(TISSUES, tissues, strict=True):
        np.multiply(tissue, share, out=fractions[scheme.values.index(value)])
    fractions[scheme.values.index(scheme.surround)] += np.where(total > 0, 0, free)
    return fractions


def with_other_anatomy(fractions: np.ndarray, scheme: LabelScheme, affine: np.ndarray, seed: int) -> np.ndarray:
    """Label fractions (L, X, Y, Z) with the tumor and the outline of ``fractions`` and an anatomy from the bank.

    ``affine``: voxel index -> RAS mm. Raises InputError as ``complete_anatomy``.
    """
    tissues = [scheme.values.index(value) for value in TISSUES]
    placed = fractions.copy()
    placed[tissues] = 0
    placed[scheme.values.index(scheme.surround)] = fractions[tissues].sum(axis=0)
    labels = labels_from_fractions(placed, scheme.values)
    return around_tumor(placed, complete_anatomy(Volume(labels, affine), seed).fractions[tissues], scheme)
