"""A tumor as a stack of nested outlines: which label is where in it, and how it is painted into a label map."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..labels.conventions import (
    CAVITY,
    CSF,
    CYST,
    EDEMA,
    ENHANCING,
    NECROTIC,
    TISSUE_ROLES,
    TUMOR,
    VENTRICLES,
    label_role,
)
from ..labels.scheme import LabelScheme
from .fields import Box, bounding_box, centroid_mm, require_label_map

FLUID = (CSF, VENTRICLES)
SOLID = tuple(role for role in TISSUE_ROLES if role not in FLUID)
# From the inside of a glioma to its outside.
NESTING = (CAVITY, CYST, NECROTIC, ENHANCING, TUMOR, EDEMA)


def tumor_roles(scheme: LabelScheme) -> dict[str, int]:
    """Role -> label value of the tumor parts, by terminology code or name; of equal roles the first label counts.

    A scheme with one tumor label has only ``TUMOR``. Raises InputError where the scheme has no tumor label.
    """
    tumor = [label for label in scheme.labels if label.tumor]
    if not tumor:
        raise InputError(f"Label scheme '{scheme.name}' has no tumor label, so there is no tumor to work on.")
    if len(tumor) == 1:
        return {TUMOR: tumor[0].value}
    return {label_role(label, scheme): label.value for label in reversed(tumor)}


def nesting_order(scheme: LabelScheme) -> tuple[int, ...]:
    """All tumor values from the innermost part to the outermost (BraTS: necrosis 1, enhancing 3, edema 2)."""
    tumor = [label for label in scheme.labels if label.tumor]
    ordered = sorted(tumor, key=lambda label: NESTING.index(label_role(label, scheme)))
    return tuple(label.value for label in ordered)


def tissue_labels(scheme: LabelScheme, roles: Collection[str] = TISSUE_ROLES) -> tuple[int, ...]:
    """Values of the labels that are these tissues of the brain; a scheme may have other labels that are no tumor."""
    return tuple(value for value in scheme.tissue_values if label_role(scheme.label(value), scheme) in roles)


def room_values(scheme: LabelScheme) -> tuple[int, ...]:
    """Values that a tumor may cover: the surround and tissues, not what is neither (an electrode, another lesion)."""
    return (scheme.surround, *tissue_labels(scheme))


def value_for(scheme: LabelScheme, role: str) -> int:
    """The label value of ``role``. Raises InputError naming the parts that the scheme does have."""
    roles = tumor_roles(scheme)
    if role not in roles:
        raise InputError(
            f"Label scheme '{scheme.name}' has no {role} part; its tumor parts are: {', '.join(sorted(roles))}. "
            f"Leave '{role}' out of the lesion's parts, or use a model whose scheme has it."
        )
    return roles[role]


@dataclass(frozen=True)
class Edit:
    """A new label map, and how much of the moved tumor found a place in it.

    ``kept_fraction`` is the share (0 to 1) of the moved tumor's voxels inside the outline; ``lost_voxels`` the rest.
    """

    labels: np.ndarray
    kept_fraction: float
    lost_voxels: int


@dataclass(frozen=True)
class Stack:
    """The nested outlines of a tumor, innermost first, in the block ``box`` of the grid.

    ``outlines[i]`` holds the part ``values[i]`` and all parts inside it; those with ``chosen[i]`` move.
    """

    labels: np.ndarray
    affine: np.ndarray
    scheme: LabelScheme
    box: Box
    values: tuple[int, ...]
    outlines: tuple[np.ndarray, ...]
    chosen: tuple[bool, ...]

    @property
    def outermost(self) -> np.ndarray:
        """The largest outline that moves, (X, Y, Z) of ``box``."""
        return [outline for outline, moves in zip(self.outlines, self.chosen, strict=True) if moves][-1]

    def room(self, box: Box) -> np.ndarray:
        """Voxels of ``box`` that may be tumor: surround, tissue, or tumor so far."""
        return one_of(self.labels[box.slices], (*room_values(self.scheme), *self.values))

    def part_size(self, i: int) -> int:
        """Voxels of the part ``values[i]`` alone."""
        return int((self.labels[self.box.slices] == self.values[i]).sum())

    @property
    def centroid(self) -> np.ndarray:
        """Centroid of what moves, RAS mm."""
        return centroid_mm(self.outermost, self.affine, self.box.low)


def open_stack(
    labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, parts: Sequence[int] | None = None
) -> Stack:
    """The nested outlines of the tumor in ``labels``. Raises InputError where there is none or a part is unknown."""
    labels = require_label_map(labels, affine, scheme)
    values = nesting_order(scheme)
    unknown = sorted(set(parts or ()) - set(values))
    if unknown:
        allowed = ", ".join(map(str, sorted(values)))
        raise InputError(f"{unknown[0]} is not a tumor part of label scheme '{scheme.name}'; its parts are {allowed}.")
    box = bounding_box(one_of(labels, values))
    block = labels[box.slices]
    wanted = set(values if parts is None else parts)
    # A part with no voxel would have the outline of the part within it, and be painted where that was before.
    values = tuple(v for v in values if (block == v).any())
    outlines = tuple(one_of(block, values[: i + 1]) for i in range(len(values)))
    chosen = tuple(v in wanted for v in values)
    if not any(chosen):
        names = ", ".join(f"{v} {scheme.label(v).name}" for v in sorted(wanted))
        raise InputError(f"The mask has no tumor to edit: none of its voxels has a label of {names}.")
    return Stack(labels, np.asarray(affine, dtype=float), scheme, box, values, outlines, chosen)


def one_of(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Where ``labels`` (uint8) is one of ``values``."""
    table = np.zeros(256, bool)
    table[list(values)] = True
    return table[labels]


def paint(stack: Stack, target: Box, regions: Sequence[np.ndarray | None], expected: int | None = None) -> Edit:
    """Replace the old tumor by the new outlines, from the outside in, where the outline of the head has room.

    ``expected`` is the number of voxels of the outermost moved outline before any clipping.
    """
    labels, scheme = stack.labels.copy(order="K"), stack.scheme
    around = target.union(stack.box)
    block = labels[around.slices]
    room = stack.room(around)
    block[one_of(block, stack.values)] = scheme.surround
    kept = moved = 0
    for i in reversed(range(len(stack.values))):
        region, box = regions[i], target
        if region is None:
            region, box = stack.outlines[i], stack.box
        inside = region & room[box.within(around)]
        block[box.within(around)][inside] = stack.values[i]
        if regions[i] is not None and moved == 0:
            kept, moved = int(inside.sum()), expected or int(region.sum())
    if kept == 0:
        raise InputError("The moved tumor lies wholly outside the head or brain outline. Choose a smaller movement.")
    return Edit(labels, min(1.0, kept / moved), max(0, moved - kept))
