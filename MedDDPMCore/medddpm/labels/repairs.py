"""The steps of the check that find something to put right in the label map, and put it right.

Each takes a Case whose labels are in the scheme's values, changes them and notes what it found. None changes anything
without a finding.
"""

from __future__ import annotations

import numpy as np

from ..geometry.volume import Volume, corners, extended
from .case import Case
from .conventions import BRAIN, CSF, HEAD, labels_text, scheme_value
from .findings import ERROR, INFO, WARNING, listed, milliliters, percent
from .morphology import bounding_box, components, fill_holes, inside_hull, row_ends, touching
from .outline import (
    AVERAGE_MM,
    BRAIN_HEAD_LIMIT_ML,
    average_outline,
    brain_from_image,
    brain_in_head,
    brain_in_scan,
    close_structures,
    head_around_brain,
    head_from_image,
    hull_outline,
    with_tumor,
)
from .recognize import apply_mapping

# Tumor parts with fewer voxels than this, apart from all other tumor, are slips of the pen; larger ones may be lesions.
SPECK_VOXELS = 2
# Cavities in the outline below this are of no account (mL).
CAVITY_ML = 1.0
# An estimate below this is no brain (mL).
LEAST_ML = 300.0
# More voxels of unknown meaning than this share of the tumor may be a part of it.
MOST_UNKNOWN = 0.5
# A tumor at the surface bulges beyond the hull of the rest of the brain by up to this (mm): the height of a cap of
# 60 mm width on a brain of 70 mm radius.
BULGE_MM = 7.0
# A second piece of the outline above this part of the first is another head rather than a speck.
ANOTHER = 0.1
SEARCH = "A brain segmentation (for example by SynthStrip or HD-BET) would be better."


def assign_unknown(case: Case) -> None:
    """Bring the labels into the scheme's values; unknown values become surround inside of the outline, else nothing.

    Where they may be the tumor, or much of it, only the user can say what they are.
    """
    assert case.recognition is not None
    file_labels, scheme = case.labels, case.config.scheme
    case.labels = apply_mapping(file_labels, case.recognition.mapping)
    unknown = case.recognition.unknown
    if not unknown:
        return
    where = np.isin(file_labels, unknown)
    sentence = (
        f"The value{'s' if len(unknown) > 1 else ''} {listed(unknown)} in {case.amount(where)} "
        f"mean{'' if len(unknown) > 1 else 's'} nothing to the model (it knows {listed(scheme.values)})."
    )
    if np.count_nonzero(where) > MOST_UNKNOWN * np.count_nonzero(case.tumor):
        every = {**case.recognition.mapping, **dict.fromkeys(unknown, "N")}
        fix = f"Say what each value means: {labels_text(every)} with N one of {listed(scheme.values)}, 0 for nothing."
        case.stop("unknown-values", f"{sentence} They may be the tumor or a part of it.", fix)
        return
    inside = where & fill_holes((case.labels > 0) | where) & _in_outline(case, where)
    fix = f"{case.amount(inside)} of them inside of the outline become {case.kind}, the rest background."
    case.add("unknown-values", ERROR, sentence, fix + " Or say what the values mean.", True)
    case.labels[inside] = scheme.surround


def _in_outline(case: Case, where: np.ndarray) -> np.ndarray:
    """Of the voxels ``where``, those in the hull of the surround."""
    result = np.zeros_like(where)
    if case.surround.any():
        points = np.argwhere(where)
        kept = points[inside_hull(points, case.surround, case.spacing)]
        result[tuple(kept.T)] = True
    return result


def provide_outline(case: Case) -> None:
    """Make the brain or head where the mask has none, or has the other one of the two."""
    assert case.recognition is not None
    if not case.recognition.outline:
        _make_missing(case)
    elif case.recognition.convention.name == "structures":
        _join_structures(case)
    if not case.stopped and case.recognition.kind in (BRAIN, HEAD) and case.recognition.kind != case.kind:
        _change_kind(case)


def _make_missing(case: Case) -> None:
    kind, surround = case.kind, case.config.scheme.surround
    empty = not case.labels.any()
    made = outline_from_image(case)
    if made is None and empty:
        case.stop("empty", "The mask is empty: no voxel has a label.", "Draw a mask, or give the MRI.")
        return
    outline, how = made or _without_image(case)
    volume = milliliters(np.count_nonzero(outline) * case.voxel_ml)
    sentence = f"The mask has no {kind} label ({surround}); without it the model makes noise."
    if empty:
        sentence = f"The mask is empty. {sentence}"
    case.add("empty" if empty else "no-outline", ERROR, sentence, f"{how} ({volume}).", True, made is None)
    _set_surround(case, outline)


def _set_surround(case: Case, outline: np.ndarray) -> None:
    case.labels[outline & (case.labels == 0)] = case.config.scheme.surround


def outline_from_image(case: Case) -> tuple[np.ndarray, str] | None:
    """The outline that the image shows and a clause on how it was found; None without a useful image."""
    if case.image is None:
        return None
    if case.kind == HEAD:
        head = head_from_image(case.image, case.spacing)
        return None if head is None else (head, "The head is taken from the image: all that is brighter than air")
    brain = brain_from_image(case.image, case.spacing)
    if brain is not None:
        return brain, "The brain is taken from the skull-stripped image: all that is not background"
    head = head_from_image(case.image, case.spacing)
    if head is None:
        return None
    brain, found = brain_in_scan(case.image, head, case.affine)
    if not brain.any():
        return None
    how = "The image shows the whole head, not a skull-stripped brain, so the brain is "
    how += "found in it by its brightness" if found else f"estimated inside of it. {SEARCH} The estimate is rough"
    return with_tumor(brain, case.tumor, head, case.spacing), how


def _without_image(case: Case) -> tuple[np.ndarray, str]:
    everything, kind = case.labels > 0, case.kind
    ask = "the image shows none" if case.image is not None else "give the MRI for a true one"
    hull = hull_outline(kind, everything, case.affine)
    if hull is not None:
        how = f"The convex hull of the labels is used as an approximate {kind} mask"
        return hull, f"{how}; {ask}"
    if kind == BRAIN and case.brain_around is not None and case.tumor.any():
        brain, how = case.brain_around(case.tumor, case.affine)
        case.move_to(extended(Volume(case.labels, case.affine), corners(brain)))
        return brain.data, f"{how}. It is not this patient's; {ask}"
    half = np.array(AVERAGE_MM[kind]) / 2
    middle = corners(case.mask.volume).mean(axis=0)
    case.move_to(extended(Volume(case.labels, case.affine), middle + np.array([-half, half])))
    how = (
        f"The {kind} cannot be found from a tumor alone: an ellipsoid of average adult size is placed in the middle of "
        f"the field of view around the tumor. It is not this patient's {kind}; {ask}"
    )
    return average_outline(kind, case.labels > 0, case.affine), how


def _join_structures(case: Case) -> None:
    """Take all structures of a brain map as one outline, with fluid between them."""
    assert case.recognition is not None
    scheme, before = case.config.scheme, case.labels > 0
    outline = close_structures(before, case.affine)
    count = len(case.recognition.outline)
    sentence = f"The mask has {count} structures of a FreeSurfer or SynthSeg map in place of one {case.kind} label."
    fluid = scheme_value(CSF, scheme)
    read = f"Every structure counts as {case.recognition.kind}"
    if fluid != scheme.surround:
        read = "The structures become tissues"
    fix = (
        f"{read}, and {case.amount(outline & ~before)} of fluid between them are filled. If one of the values is a "
        "tumor, say what the values mean."
    )
    case.add("structures", ERROR, sentence, fix, True)
    case.labels[outline & ~before] = fluid


def _change_kind(case: Case) -> None:
    """A head outline for a model of the brain, or the other way round."""
    assert case.recognition is not None
    found, wanted = str(case.recognition.kind), case.kind
    remove_islands(case)
    given = case.labels > 0
    size = np.count_nonzero(given) * case.voxel_ml
    if wanted == BRAIN and size <= BRAIN_HEAD_LIMIT_ML and case.recognition.convention.name != "names":
        return  # several brains in one mask were as large as a head
    volume = milliliters(size)
    sentence = f"The mask outlines the {found} ({volume}), but the model needs the {wanted}; the two are not the same."
    made = outline_from_image(case)
    outline, how = made or _converted(case, given)
    size = np.count_nonzero(outline) * case.voxel_ml
    if size < LEAST_ML:
        case.stop("wrong-outline", sentence, f"No {wanted} could be estimated from it: give a {wanted} mask.")
        return
    case.add("wrong-outline", ERROR, sentence, f"{how} ({milliliters(size)}).", True, made is None)
    case.labels[case.labels == case.config.scheme.surround] = 0
    _set_surround(case, outline)


def _converted(case: Case, given: np.ndarray) -> tuple[np.ndarray, str]:
    """A stand-in for the brain in a head outline, or for the head around a brain, and a clause on it."""
    if case.kind == HEAD:
        how = "An average skull, scalp and neck are put around the brain; give the MRI for the true head"
        return head_around_brain(given, case.affine), how
    brain = brain_in_head(given, case.affine)
    how = f"The brain is estimated inside of the head, under scalp and skull. {SEARCH} The estimate is rough"
    return with_tumor(brain, case.tumor, given, case.spacing), how


def clip_tumor(case: Case) -> None:
    """Remove tumor beyond the hull of the main piece of the outline."""
    box = bounding_box(case.labels > 0)
    labels = case.labels[box]
    parts, sizes = components(labels > 0)
    main = case.surround[box] & (parts == _main_part(case.tumor[box], parts, sizes))
    tumor = case.tumor[box]
    if not tumor.any() or (main.any() and inside_hull(row_ends(tumor), main, case.spacing, BULGE_MM).all()):
        return  # a hull that holds the ends of all rows holds the rows
    points = np.argwhere(tumor)
    beyond = points[~inside_hull(points, main, case.spacing, BULGE_MM)] if main.any() else points
    if not len(beyond):
        return
    outside = np.zeros_like(tumor)
    outside[tuple(beyond.T)] = True
    share = len(beyond) / len(points)
    if share == 1:
        sentence = f"The whole tumor ({case.amount(outside)}) lies outside of the {case.kind}."
        case.stop("tumor-outside", sentence, "Check that mask and outline, or mask and image, belong together.")
        return
    sentence = f"{case.amount(outside)} of the tumor ({percent(share)}) lie outside of the {case.kind}."
    severity = ERROR if share > 0.5 else WARNING
    case.add(
        "tumor-outside", severity, sentence, "They are removed; check that mask and outline belong together.", True
    )
    labels[outside] = 0


def _main_part(tumor: np.ndarray, parts: np.ndarray, sizes: np.ndarray) -> int:
    """The number of the piece that is the patient: of those about as large as the largest the one with most tumor."""
    large = np.flatnonzero(sizes >= 0.5 * sizes[0]) + 1
    held = np.bincount(parts[tumor], minlength=len(sizes) + 1)[large]
    return int(large[held.argmax()])


def remove_specks(case: Case) -> None:
    """Turn tiny isolated tumor spots into what is around them."""
    tumor = case.tumor
    if not tumor.any():
        return
    box = bounding_box(tumor)
    parts, sizes = components(tumor[box])
    small = np.flatnonzero(sizes < SPECK_VOXELS) + 1
    if not len(small) or len(small) == len(sizes):
        return
    specks = np.zeros_like(tumor)
    specks[box] = np.isin(parts, small)
    noun = "spot" if len(small) == 1 else "spots"
    sentence = (
        f"The tumor has {len(small)} isolated {noun} of fewer than {SPECK_VOXELS} voxels, {case.amount(specks)} in "
        "all, perhaps stray strokes."
    )
    case.add("specks", INFO, sentence, f"They become {case.kind} where they touch it, else background.", True)
    case.labels[specks] = 0
    rest = case.labels.copy()
    for value in (case.config.scheme.surround, *case.config.scheme.tissue_values):
        case.labels[specks & touching(rest == value)] = value


def remove_islands(case: Case) -> None:
    """Remove pieces of the outline that neither belong to the largest nor hold tumor."""
    box = bounding_box(case.labels > 0)
    tumor = case.tumor[box]
    parts, sizes = components(case.labels[box] > 0)
    if len(sizes) == 1:
        return
    main = _main_part(tumor, parts, sizes)
    kept = {main, *np.unique(parts[tumor]).tolist()}
    loose = [n for n in range(1, len(sizes) + 1) if n not in kept]
    if not loose:
        return
    islands = np.isin(parts, loose)
    share = max(int(sizes[n - 1]) for n in loose) / int(sizes[main - 1])
    another = share > ANOTHER
    noun = "piece" if len(loose) == 1 else "pieces"
    sentence = f"The outline has {len(loose)} loose {noun} apart from the main one, {case.amount(islands)} in all."
    if another:
        sentence += f" The largest of them is {percent(share)} of the main one: are there two in the mask?"
    severity = WARNING if another or islands.sum() * case.voxel_ml > CAVITY_ML else INFO
    case.add("islands", severity, sentence, "They are removed.", True)
    case.labels[box][islands] = 0


def fill_cavities(case: Case) -> None:
    """Fill background that the outline encloses."""
    box = bounding_box(case.labels > 0)
    outline = case.labels[box] > 0
    cavities = fill_holes(outline) & ~outline
    if np.count_nonzero(cavities) * case.voxel_ml < CAVITY_ML:
        return
    sentence = f"The {case.kind} has closed cavities of {case.amount(cavities)} without a label."
    case.add("cavities", WARNING, sentence, f"They become {case.kind}.", True)
    case.labels[box][cavities] = case.config.scheme.surround
