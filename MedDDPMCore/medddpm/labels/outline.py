"""Making the brain or head outline that a mask lacks.

All functions work on boolean (X, Y, Z) arrays with the affine of their grid (voxel -> RAS mm). An outline includes the
tumor; the surround label is the outline without it. An image gives a true outline; all else is a stand-in, and the
sentences that go with it say so.
"""

from __future__ import annotations

import numpy as np

from ..geometry.volume import spacing_of
from .conventions import BRAIN, HEAD
from .morphology import (
    Spacing,
    bounding_box,
    close,
    convex_hull,
    dilate,
    erode,
    fill_holes,
    largest,
    otsu,
)

# Adult averages, mm: full axes right-left, front-back, foot-head. The brains are those of skull-stripped BraTS images.
AVERAGE_MM = {BRAIN: (136.0, 168.0, 134.0), HEAD: (156.0, 200.0, 220.0)}
# From the surface of the head to the brain at the vault: scalp, skull and fluid, mm.
SCALP_TO_BRAIN = 13.0
# The brain's height, from vertex to the tip of the cerebellum, mm.
BRAIN_HEIGHT = 130.0
# Sulci and fluid between the structures of a brain map are closed up to twice this width, mm.
SULCUS = 6.0
# What is there counts as most of a head or brain, whose hull is worth taking, from this volume (mL).
HULL_ML = 600.0
# An adult brain with its fluid stays below this, an adult head above (mL).
BRAIN_HEAD_LIMIT_ML = 2200.0
# Brain tissue hangs together with dura, scalp and eyes by less than twice this, mm.
BRIDGE = 2.5
# How far a brain may reach beyond its estimate from the head's outline, mm, and how far inside all is brain.
BEYOND, WITHIN = 10.0, 10.0
# A brain that overlaps its estimate by less (Dice), or is so many times larger, was not found.
FOUND_DICE, LARGER = 0.8, 1.15
# A skull-stripped image has at least this part of its voxels at one and the same background value.
STRIPPED_BACKGROUND = 0.3
# Air is darker than this part of Otsu's threshold between dark and bright tissue.
AIR = 0.4


def coordinate(shape: tuple[int, ...], affine: np.ndarray, axis: int) -> np.ndarray:
    """RAS coordinate (mm) of every voxel along patient axis 0 (right), 1 (front) or 2 (head), float32."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    a, b, c, offset = affine[axis]
    return (a * i + b * j + c * k + offset).astype(np.float32)


def brain_from_image(image: np.ndarray, spacing: Spacing) -> np.ndarray | None:
    """The brain in a skull-stripped image: all that is not background, its largest part, without holes.

    None where the image is not skull-stripped: it has no uniform background, or only its air was set to that, as
    defacing does, so that what is left is too large for a brain.
    """
    low = image.min()
    foreground = image > low + 1e-3 * (image.max() - low)
    if foreground.mean() > 1 - STRIPPED_BACKGROUND or not foreground.any():
        return None
    found = fill_holes(largest(foreground))
    return found if np.count_nonzero(found) * np.prod(spacing) <= 1000 * BRAIN_HEAD_LIMIT_ML else None


def head_from_image(image: np.ndarray, spacing: Spacing) -> np.ndarray | None:
    """The head in an MRI with its skull: above air, largest part, gaps (sinuses, skull) closed and filled.

    None where nothing stands out from the air.
    """
    low = float(image.min())
    bright = float(np.percentile(image, 99.5))
    if bright <= low:
        return None
    clipped = np.minimum(image, bright)
    foreground = clipped > low + AIR * (otsu(clipped) - low)
    core = erode(foreground, 1.0, spacing)
    if not core.any():
        return None
    head = dilate(largest(core), 1.0, spacing) & foreground
    box = bounding_box(head)
    head[box] = fill_axial(fill_holes(close(head[box], 8.0, spacing)))
    return head


def fill_axial(mask: np.ndarray) -> np.ndarray:
    """Fill cavities that are closed within a slice of any array axis (airways open at the neck), then in 3D."""
    filled = mask
    for axis in range(3):
        inside = np.stack([fill_holes(plane[None])[0] for plane in np.moveaxis(filled, axis, 0)], axis=axis)
        filled = filled | inside
    return filled


def brain_in_head(head: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An estimate of the brain in a head outline: below scalp and skull, from the vertex down to brain height."""
    spacing = spacing_of(affine)
    solid = fill_axial(close(head, SULCUS, spacing))
    inner = erode(solid, SCALP_TO_BRAIN, spacing, padding=True)
    if not inner.any():
        return inner
    height = coordinate(head.shape, affine, 2)
    top = float(height[inner].max())
    vault = inner & (height > top - BRAIN_HEIGHT)
    # The skull base rises toward the front; the widest part of the vault gives the middle of the brain.
    middle = [float(np.median(coordinate(head.shape, affine, a)[inner & (height > top - 70)])) for a in (0, 1)]
    half = [s / 2 * 1.06 for s in AVERAGE_MM[BRAIN]]
    center = (*middle, top - half[2] + 4)
    return largest(vault & ellipsoid(head.shape, affine, center, half)) if vault.any() else vault


def brain_in_scan(image: np.ndarray, head: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, bool]:
    """The brain in an MRI of the whole ``head``, and whether it was found in the image or only estimated.

    What is as bright as the middle of the brain is parted from dura and scalp by an erosion and closed over sulci and
    ventricles; where that is no brain, the estimate of ``brain_in_head`` stays.
    """
    spacing, estimate = spacing_of(affine), brain_in_head(head, affine)
    middle = erode(estimate, WITHIN, spacing)
    if not middle.any():
        return estimate, False
    values = image[middle] - image.min()
    values = np.minimum(values, np.percentile(values, 99.5))
    bright = values[values > otsu(values[None, None])]
    if not bright.size:
        return estimate, False
    usual = float(np.median(values))
    low, high = 0.6 * usual, min(1.5 * usual, 1.15 * float(np.percentile(bright, 99)))  # not the fluid of T2
    above = image - image.min()
    tissue = (above > low) & (above < high) & dilate(estimate, BEYOND, spacing)
    core = erode(tissue, BRIDGE, spacing)
    if not core.any():
        return estimate, False
    found = fill_holes(close(dilate(largest(core), BRIDGE + 1, spacing), SULCUS, spacing))
    sizes = np.count_nonzero(found), np.count_nonzero(estimate)
    plausible = 2 * np.count_nonzero(found & estimate) >= FOUND_DICE * sum(sizes) and sizes[0] <= LARGER * sizes[1]
    return (found, True) if plausible else (estimate, False)


def with_tumor(brain: np.ndarray, tumor: np.ndarray, head: np.ndarray, spacing: Spacing) -> np.ndarray:
    """A rough brain widened to the tumor and a little around it: it must not cut what an expert drew."""
    if not brain.any() or not tumor.any():
        return brain
    return close(brain | dilate(tumor, 3.0, spacing), 12.0, spacing) & head


def head_around_brain(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A stand-in for the head around a brain: the brain with skull and scalp, on an average face and neck."""
    spacing = spacing_of(affine)
    spots = np.argwhere(brain)[::11]
    world = spots @ affine[:3, :3].T + affine[:3, 3]
    center, top = (world.min(0) + world.max(0)) / 2, float(world[:, 2].max()) + SCALP_TO_BRAIN
    half = [s / 2 for s in AVERAGE_MM[HEAD]]
    rest = ellipsoid(brain.shape, affine, (center[0], center[1] + 5, top - half[2]), half)
    return close(dilate(brain, SCALP_TO_BRAIN, spacing) | rest, 10.0, spacing)


def ellipsoid(shape: tuple[int, ...], affine: np.ndarray, center: tuple[float, ...], half: list[float]) -> np.ndarray:
    """An ellipsoid with half axes ``half`` (mm) along the patient's axes around ``center`` (RAS mm)."""
    terms = (((coordinate(shape, affine, a) - center[a]) / half[a]) ** 2 for a in range(3))
    return sum(terms) <= 1  # type: ignore[return-value]


def average_outline(kind: str, tumor: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An ellipsoid of average adult size in the middle of the field of view, moved just enough to hold the tumor."""
    shape = tumor.shape
    half = np.array(AVERAGE_MM[kind]) / 2
    center = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    if tumor.any():
        spots = np.argwhere(tumor)[:: max(1, int(tumor.sum()) // 5000)] @ affine[:3, :3].T + affine[:3, 3]
        center = _moved(center, spots, half * 0.92)
    outline = ellipsoid(shape, affine, tuple(center), list(half))
    return outline | dilate(tumor, 3.0, spacing_of(affine))


def _moved(center: np.ndarray, points: np.ndarray, half: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Move an ellipsoid's center until it holds all points, or as many as its size lets it."""
    for _ in range(rounds):
        offsets = (points - center) / half
        reach = np.sqrt((offsets**2).sum(axis=1))
        worst = int(reach.argmax())
        if reach[worst] <= 1:
            break
        center = center + (offsets[worst] * (1 - 1 / reach[worst])) * half
    return center


def hull_outline(kind: str, labels: np.ndarray, affine: np.ndarray) -> np.ndarray | None:
    """The rounded hull of all that is labeled, or None where that is too small to tell the outline from it."""
    spacing = spacing_of(affine)
    if not labels.any() or labels.sum() * np.prod(spacing) / 1000 < HULL_ML / 4:
        return None
    hull = convex_hull(labels, spacing)
    volume = hull.sum() * np.prod(spacing) / 1000
    if volume < HULL_ML or (kind == BRAIN and volume > BRAIN_HEAD_LIMIT_ML):
        return None
    return hull if kind == BRAIN else head_around_brain(hull, affine)


def close_structures(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The outline of a brain given as many structures: fluid spaces between them closed and filled."""
    box = bounding_box(labels, 2)
    closed = labels.copy()
    closed[box] = fill_holes(close(labels[box], SULCUS, spacing_of(affine)))
    return closed
