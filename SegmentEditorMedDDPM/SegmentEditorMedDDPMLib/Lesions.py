"""What the effect does to a mask: place a lesion; move, turn, scale, grow and mirror tumors.

The operations take the MRML segmentation node, the label scheme its segments stand for, and ``saveUndo``, which is
called once before the first change, so that an operation is one step of undo for all segments. Points and lengths are
RAS millimeters of the world, whatever transform the segmentation lies under. An operation that cannot be done raises
InputError with a sentence and changes nothing. They take up to a second, so they are generators that pause where the
application may go on (``MedDDPMSlicerLib.Background``); what changes the mask meanwhile stays, and ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume, Window, bounding_box, voxel_ml
from medddpm.labels.conventions import EDEMA, TUMOR
from medddpm.labels.scheme import Label, LabelScheme
from medddpm.masks import Edit, LesionSpec, add_lesion, fields, grow_tumor, mirror_tumor, transform_tumor
from medddpm.masks.stack import FLUID, SOLID, one_of, tissue_labels, tumor_roles
from MedDDPMSlicerLib.Background import inThread
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from MedDDPMSlicerLib.SegmentVoxels import contentStamp
from MedDDPMSlicerLib.Volumes import transformToSame

from .Options import LesionOptions, Motion, Point

# Voxels around the outline that an operation may look at: surfaces are smoothed over two.
MARGIN = 3
# Below this share the person is told that a part of the tumor was cut off.
NEARLY_ALL = 0.995
# A click this near to a tumor means it, so that a lesion of a few voxels can be hit.
REACH_MM = 3.0
NO_TUMOR_HERE = "There is no tumor at this point. Point at the tumor that you want to change."

SaveUndo = Callable[[], object]


@dataclass(frozen=True)
class Outcome:
    """What an operation did: a sentence for the person, and the IDs of the segments that changed."""

    message: str
    changed: list[str]


Steps = Generator[None, None, Outcome]


@dataclass(frozen=True)
class OpenedMask:
    """The block of a segmentation that holds all of its labels.

    ``labels``: uint8 (X, Y, Z), values of ``scheme``. ``local``: 4x4, voxel index -> RAS mm of the segmentation's own
    node. ``affine``: 4x4, voxel index -> RAS mm of the world, so that what is done is in the millimeters and directions
    that the user sees, also where the segmentation lies under a transform. ``stamp``: what ``stampOf`` told of it.
    """

    node: Any
    scheme: LabelScheme
    labels: np.ndarray
    local: np.ndarray
    affine: np.ndarray
    stamp: tuple[Any, ...]

    @property
    def outlineName(self) -> str:
        """What the scheme calls the tissue around the tumor, in lower case: "brain" or "head"."""
        return self.scheme.label(self.scheme.surround).name.lower()

    def commit(self, labels: np.ndarray, saveUndo: SaveUndo | None = None) -> list[str]:
        """Write new ``labels`` into the segments; returns the IDs of those that changed.

        ``saveUndo`` is called once, before the first change and only if there is one. Segments that the labels need and
        the segmentation lacks are created. Raises InputError where the mask is no longer the one that was opened.
        """
        if self.node.GetScene() is None or stampOf(self.node) != self.stamp:
            raise InputError("The mask was changed meanwhile, so its tumor stays as it is. Try again.")
        # Only the part that changes is written, which is what keeps an operation on a large mask short.
        box = bounding_box(labels != self.labels)
        if box is None:
            return []
        if saveUndo is not None:
            saveUndo()
        with slicer.util.NodeModify(self.node):
            return applyLabels(self.node, self.scheme, Volume(labels[box], _shifted(self.local, box)))


def openMask(segmentationNode: Any, scheme: LabelScheme) -> OpenedMask:
    """Open a segmentation for an operation.

    Raises InputError where it is empty, lacks the brain or head around the tumor, or lies under a warp.
    """
    toWorld = transformToSame(segmentationNode, None)
    whole = composeLabels(segmentationNode, scheme)
    if not one_of(whole.data, (scheme.surround, *scheme.tissue_values)).any():
        name = scheme.label(scheme.surround).name
        raise InputError(
            f"The segment '{name}' is missing or empty, so it is not known where a tumor may lie. Paint it, or make it "
            f"from an MRI in the module MedDDPM Synth ('{name} from MRI')."
        )
    block = bounding_box(whole.data, MARGIN)
    assert block is not None  # surround or tissues have voxels
    local = _shifted(np.asarray(whole.affine, dtype=float), block)
    return OpenedMask(segmentationNode, scheme, whole.data[block], local, toWorld @ local, stampOf(segmentationNode))


def stampOf(segmentationNode: Any) -> tuple[Any, ...]:
    """What differs after every change of a segmentation or of its place."""
    segmentation, parent = segmentationNode.GetSegmentation(), segmentationNode.GetParentTransformNode()
    meant = [segmentation.GetSegment(segmentId).GetMTime() for segmentId in segmentation.GetSegmentIDs()]
    placed = (parent.GetID(), parent.GetMTime()) if parent is not None else None
    return (segmentationNode.GetID(), contentStamp(segmentationNode), *meant, placed)


def _shifted(affine: np.ndarray, block: Window) -> np.ndarray:
    """The affine (4x4) of a block of the array whose affine is given."""
    result = affine.copy()
    result[:3, 3] += affine[:3, :3] @ [s.start for s in block]
    return result


def placeLesion(
    segmentationNode: Any,
    scheme: LabelScheme,
    center: Point,
    options: LesionOptions,
    saveUndo: SaveUndo | None = None,
) -> Steps:
    """A new lesion around ``center``, inside the brain or head; only that and edema of another lesion become tumor."""
    opened = openMask(segmentationNode, scheme)
    _requireInside(opened, center)
    parts = partsFor(scheme, options.parts)
    shape = (options.diameter, options.irregularity, options.elongation, parts, options.rimWidth, options.edemaWidth)
    spec = LesionSpec(center, *shape)
    result = yield from inThread(lambda: add_lesion(opened.labels, opened.affine, scheme, spec, options.seed))
    changed = opened.commit(result.labels, saveUndo)
    volumes = ", ".join(f"{name} {volume:.1f} mL" for name, volume in result.volumes_ml.items())
    return Outcome(f"Lesion placed: {volumes}.", changed)


def changeTumor(
    segmentationNode: Any,
    scheme: LabelScheme,
    motion: Motion,
    at: Point | None = None,
    saveUndo: SaveUndo | None = None,
) -> Steps:
    """The tumor, or only the connected lesion at the point ``at``, after ``motion``; clipped to the brain or head.

    With ``at``, other lesions stay as they are and are not overwritten.
    """
    if not motion.changes:
        raise InputError("All sliders are at their start, so there is nothing to apply. Move one of them first.")

    def moved(labels: np.ndarray, affine: np.ndarray, own: LabelScheme) -> Edit:
        edit = Edit(labels, 1.0, 0)
        if motion.moves:
            edit = transform_tumor(labels, affine, own, motion.scale / 100, motion.degrees, motion.shift)
        if motion.grow:
            # What was cut off before still counts, growth is meant to end at the border.
            edit = replace(edit, labels=grow_tumor(edit.labels, affine, own, motion.grow).labels)
        return edit

    return _edit(segmentationNode, scheme, at, saveUndo, "changed", moved)


def mirrorTumor(
    segmentationNode: Any, scheme: LabelScheme, at: Point | None = None, saveUndo: SaveUndo | None = None
) -> Steps:
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


def _edit(
    segmentationNode: Any,
    scheme: LabelScheme,
    at: Point | None,
    saveUndo: SaveUndo | None,
    verb: str,
    operation: Callable[[np.ndarray, np.ndarray, LabelScheme], Edit],
) -> Steps:
    opened = openMask(segmentationNode, scheme)
    labels, own = opened.labels, scheme
    spare = max(set(range(256)) - set(scheme.values))
    others = one_of(labels, scheme.tumor_values) & ~tumorAt(opened, at)
    if others.any():
        # With a label of its own that is no tumor, the core neither moves the rest nor lets the lesion overwrite it.
        if not spare:
            raise InputError("The label scheme uses all 255 values, so one lesion alone cannot be changed.")
        labels = np.where(others, np.uint8(spare), labels)
        own = replace(scheme, labels=(*scheme.labels, Label(spare, "Another lesion", (0, 0, 0), "")))
    edit = yield from inThread(lambda: operation(labels, opened.affine, own))
    result = np.where(others, opened.labels, edit.labels)
    changed = opened.commit(result, saveUndo)
    if not changed:
        return Outcome("The tumor is the same as before: the change is smaller than a voxel.", [])
    volume = np.count_nonzero(one_of(result, scheme.tumor_values)) * voxel_ml(opened.affine)
    sentence = f"Tumor {verb}; the mask now has {volume:.1f} mL of tumor."
    if edit.kept_fraction < NEARLY_ALL:
        lost = f"{max(0.01, 1 - edit.kept_fraction):.0%}"
        sentence += f" {lost} of it fell outside of the {opened.outlineName} or on another lesion and was cut off."
    return Outcome(sentence, changed)


def _requireInside(opened: OpenedMask, center: Point) -> None:
    """Raises InputError where ``center`` is no place for a lesion, in words for someone who clicked there."""
    index = np.linalg.inv(opened.affine) @ [*center, 1.0]
    voxel = np.floor(index[:3] + 0.5).astype(int)
    inside = (voxel >= 0).all() and (voxel < opened.labels.shape).all()
    value = int(opened.labels[tuple(voxel)]) if inside else 0
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


def tumorAt(opened: OpenedMask, point: Point | None) -> np.ndarray:
    """Where the tumor is, (X, Y, Z) bool: all of it, or the connected lesion at or near ``point`` (RAS mm, world).

    Raises InputError where the mask has no tumor, or none lies within 3 mm of ``point``.
    """
    tumor = one_of(opened.labels, opened.scheme.tumor_values)
    if not tumor.any():
        raise InputError(
            "The mask has no tumor yet. Place a lesion first: choose 'New lesion' and click in a slice view."
        )
    if point is None:
        return tumor
    import SimpleITK as sitk  # noqa: N813

    box = fields.bounding_box(tumor)
    block = tumor[box.slices]
    seed = _nearest(block, box, opened.affine, point)
    # Face-connected, as a person sees it in a slice.
    pieces = fields.to_array(sitk.ConnectedComponent(fields.to_image(block.astype(np.uint8))))
    result = np.zeros(tumor.shape, bool, order="F")
    result[box.slices] = pieces == pieces[seed]
    return result


def _nearest(block: np.ndarray, box: fields.Box, affine: np.ndarray, point: Point) -> tuple[int, int, int]:
    """Index in ``block`` of the tumor voxel nearest to ``point``, at most ``REACH_MM`` away."""
    inverse = np.linalg.inv(affine)
    index = (inverse @ [*point, 1.0])[:3] - box.low
    # Along index axis i, the distance between planes of voxels is 1 / |row i of the inverse|.
    reach = 1 + np.ceil(REACH_MM * np.linalg.norm(inverse[:3, :3], axis=1))
    near = fields.make_box(np.floor(index - reach), np.ceil(index + reach) + 1).clipped(block.shape)
    candidates = np.argwhere(block[near.slices]) + near.low
    if not len(candidates):
        raise InputError(NO_TUMOR_HERE)
    distances = np.linalg.norm((candidates - index) @ affine[:3, :3].T, axis=1)
    best = int(distances.argmin())
    # Half a diagonal: a click on a voxel is nearer to its center than that.
    if distances[best] > REACH_MM + np.linalg.norm(affine[:3, :3], axis=0).max() / 2:
        raise InputError(NO_TUMOR_HERE)
    x, y, z = candidates[best].tolist()
    return x, y, z
