"""The brain map that fills a mask: one of the bank, or a label map that the user gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume, voxel_ml
from ..labels.findings import listed, milliliters
from ..labels.morphology import bounding_box
from ..labels.scheme import load_scheme
from .bank import bank_names, load_bank_map
from .numbering import BRAIN, TISSUES, nearest_tissue, tissues_of
from .variation import mirrored

LEAST_ML = 300.0


@dataclass(frozen=True)
class BrainMap:
    """``tissues``: values 5 to 11 of the scheme glioma-anatomy, 0 outside; ``name`` is None for a map of the user."""

    tissues: Volume
    name: str | None = None
    mirrored: bool = False
    sentences: tuple[str, ...] = ()


def bank_map(rng: np.random.Generator) -> BrainMap:
    """A map of the bank, mirrored or not, as ``rng`` has it."""
    index = int(rng.integers(len(bank_names())))
    tissues, flip = load_bank_map(index), bool(rng.integers(2))
    return BrainMap(mirrored(tissues) if flip else tissues, bank_names()[index], flip)


def given_map(source: Volume) -> BrainMap:
    """A label map in the numbers of FreeSurfer or SynthSeg, or in values of the scheme glioma-anatomy.

    Tumor and brain without tissue become the nearest tissue. Raises InputError where it is no map of a brain's tissues.
    """
    whole = np.rint(source.data).astype(np.int64)
    if source.data.dtype.kind == "f" and np.abs(source.data - whole).max(initial=0) > 0.01:
        raise InputError("The label map has fractional values, as an image has. Give a segmentation of the brain.")
    cropped = _cropped(Volume(whole, source.affine), margin=4)
    of_scheme = whole.min(initial=0) >= 0 and whole.max(initial=0) <= TISSUES[-1]
    tissues, sentences = _of_scheme(cropped) if of_scheme else tissues_of(cropped)
    size = np.count_nonzero(tissues.data) * voxel_ml(tissues.affine)
    if size < LEAST_ML:
        raise InputError(
            f"The brain of the label map has {milliliters(size)}, less than any brain. Check its labels and spacing."
        )
    tissues = _cropped(tissues, margin=0)
    return BrainMap(tissues, sentences=(*source.notes, *sentences, *_missing(tissues.data)))


def _cropped(labels: Volume, margin: int) -> Volume:
    box = bounding_box(labels.data != 0, margin) if labels.data.any() else (slice(0, None),) * 3
    affine = np.asarray(labels.affine, np.float64).copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    return Volume(np.ascontiguousarray(labels.data[box]), affine)


def _of_scheme(labels: Volume) -> tuple[Volume, tuple[str, ...]]:
    if not (labels.data > BRAIN).any():
        raise InputError("The label map has no tissues, only a tumor or a brain outline. Give one of tissues.")
    blank = (labels.data > 0) & (labels.data <= BRAIN)
    labels = Volume(labels.data.astype(np.uint8), labels.affine)
    if not blank.any():
        return labels, ()
    sentence = "Tumor and brain without tissue in the label map became the nearest of its tissues."
    return Volume(nearest_tissue(labels.data, blank, labels.spacing), labels.affine), (sentence,)


def _missing(tissues: np.ndarray) -> tuple[str, ...]:
    scheme = load_scheme("glioma-anatomy")
    absent = [scheme.label(value).name.lower() for value in TISSUES[1:] if not (tissues == value).any()]
    return (f"The label map has no {listed(absent)}, so neither has the brain made from it.",) if absent else ()
