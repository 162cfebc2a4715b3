"""What the effect does to a mask: place a lesion; move, turn, scale, grow and mirror tumors.

Every function takes the MRML segmentation node, the label scheme its segments stand for, and ``saveUndo``, which is
called once before the first change, so that an operation is one step of undo for all segments. Points and lengths are
RAS millimeters of the world, whatever transform the segmentation lies under. An operation that cannot be done raises
InputError with a sentence and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from medddpm.errors import InputError
from medddpm.geometry.volume import voxel_ml
from medddpm.labels.conventions import EDEMA, TUMOR
from medddpm.labels.scheme import LabelScheme
from medddpm.masks import Edit, add_lesion, grow_tumor, mirror_tumor, transform_tumor
from medddpm.masks.stack import FLUID, SOLID, one_of, tissue_labels, tumor_roles

from .Lesions import othersHidden, shown, tumorAt
from .OpenedMask import OpenedMask, SaveUndo, openMask
from .Options import LesionOptions, Motion, Point

# Below this share the person is told that a part of the tumor was cut off.
NEARLY_ALL = 0.995


@dataclass(frozen=True)
class Outcome:
    """What an operation did: a sentence for the person, and the IDs of the segments that changed."""

    message: str
    changed: list[str]


def placeLesion(
    segmentationNode: Any,
    scheme: LabelScheme,
    center: Point,
    options: LesionOptions,
    saveUndo: SaveUndo | None = None,
) -> Outcome:
    """A new lesion around ``center``, inside the brain or head; only that and edema of another lesion become tumor."""
    opened = openMask(segmentationNode, scheme)
    _requireInside(opened, center)
    spec = options.spec(center, partsFor(scheme, options.parts))
    result = add_lesion(opened.labels, opened.affine, scheme, spec, options.seed)
    changed = opened.commit(result.labels, saveUndo)
    volumes = ", ".join(f"{name} {volume:.1f} mL" for name, volume in result.volumes_ml.items())
    return Outcome(f"Lesion placed: {volumes}.", changed)


def changeTumor(
    segmentationNode: Any,
    scheme: LabelScheme,
    motion: Motion,
    at: Point | None = None,
    saveUndo: SaveUndo | None = None,
) -> Outcome:
    """The tumor, or only the connected lesion at the point ``at``, after ``motion``; clipped to the brain or head.

    With ``at``, other lesions stay as they are and are not overwritten.
    """
    if not motion.changes:
        raise InputError("All sliders are at their start, so there is nothing to apply. Move one of them first.")
    return _edit(segmentationNode, scheme, at, saveUndo, "changed", lambda *mask: _moved(*mask, motion))


def mirrorTumor(
    segmentationNode: Any, scheme: LabelScheme, at: Point | None = None, saveUndo: SaveUndo | None = None
) -> Outcome:
    """The tumor, or only the lesion at ``at``, on the other side of the brain or head."""
    return _edit(segmentationNode, scheme, at, saveUndo, "mirrored", mirror_tumor)


def partsFor(scheme: LabelScheme, wanted: tuple[str, ...]) -> tuple[str, ...] | None:
    """The parts that a lesion has in this scheme; None where the scheme knows only tumor.

    Raises InputError where no part is wanted, or the scheme has none of those that are.
    """
    known = tumor_roles(scheme)
    if set(known) == {TUMOR}:
        return None
    parts = tuple(part for part in wanted if part in known)
    if not parts:
        raise InputError(f"Choose at least one part of the lesion: {', '.join(sorted(known))}.")
    return parts


def _moved(labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, motion: Motion) -> Edit:
    edit = Edit(labels, 1.0, 0)
    if motion.moves:
        edit = transform_tumor(labels, affine, scheme, motion.scalePercent / 100, motion.degrees, motion.shift)
    if motion.grow:
        # What was cut off before still counts, growth is meant to end at the border.
        grown = grow_tumor(edit.labels, affine, scheme, motion.grow)
        edit = Edit(grown.labels, edit.kept_fraction, edit.lost_voxels)
    return edit


def _edit(
    segmentationNode: Any,
    scheme: LabelScheme,
    at: Point | None,
    saveUndo: SaveUndo | None,
    verb: str,
    operation: Callable[[np.ndarray, np.ndarray, LabelScheme], Edit],
) -> Outcome:
    opened = openMask(segmentationNode, scheme)
    labels, own = othersHidden(opened, tumorAt(opened, at))
    edit = operation(labels, opened.affine, own)
    result = shown(opened, edit.labels)
    changed = opened.commit(result, saveUndo)
    if not changed:
        return Outcome("The tumor is the same as before: the change is smaller than a voxel.", [])
    return Outcome(_said(opened, result, edit, verb), changed)


def _said(opened: OpenedMask, labels: np.ndarray, edit: Edit, verb: str) -> str:
    volume = np.count_nonzero(one_of(labels, opened.scheme.tumor_values)) * voxel_ml(opened.affine)
    sentence = f"Tumor {verb}; the mask now has {volume:.1f} mL of tumor."
    if edit.kept_fraction < NEARLY_ALL:
        lost = f"{max(0.01, 1 - edit.kept_fraction):.0%}"
        sentence += f" {lost} of it fell outside of the {opened.outlineName} or on another lesion and was cut off."
    return sentence


def _requireInside(opened: OpenedMask, center: Point) -> None:
    """Raises InputError where ``center`` is no place for a lesion, in words for someone who clicked there."""
    voxel = opened.voxelAt(center)
    value = 0 if voxel is None else int(opened.labels[voxel])
    if value == 0:
        raise InputError(
            f"This point lies outside of the {opened.outlineName}. Click inside of it to place a lesion there."
        )
    scheme = opened.scheme
    name = scheme.label(value).name
    if value in tissue_labels(scheme, FLUID):
        raise InputError(f"'{name}' is fluid, in which no glioma arises. Click in the tissue beside it.")
    if value not in {scheme.surround, tumor_roles(scheme).get(EDEMA), *tissue_labels(scheme, SOLID)}:
        raise InputError(
            f"There is '{name}' at this point already. Click beside it, or choose 'Move and reshape' to change the "
            "tumor that is there."
        )
