"""From the numbers of a mask file to whole labels: what is no label number is found, named and put right."""

from __future__ import annotations

import numpy as np

from .findings import ERROR, INFO, WARNING, Finding, amount
from .morphology import bounding_box, distance_to, solid

# From one solid voxel to the next along an axis it is a few voxels.
REACH = 5
# Fewer crossings prove nothing.
LEAST = 200
# Of 51 expert masks of BraTS, at 1 and 2 mm and with thick slices, at most this share of the crossings from one number
# to another that is not its neighbor step through what lies between; of the same masks interpolated at least this.
STEPPED = 0.3
# Where 1 lies around the rest, as edema in some numberings, thin rims of it are the rule: then only in masks with more
# numbers than those have, and this share. Between 0 and 2 alone there is but 1, so chance does more.
OUTER, STEPPED_OUTER, STEPPED_TWO = 0.4, 0.5, 0.6
# After strong smoothing nothing jumps any more: the share of borders between numbers that are no neighbors.
SMOOTH = 0.002
GRAY_IMAGE = "gray-image"
# Numbers this near to a whole one are that one, written as a float.
ROUNDING = 0.01
# Above this share of fractional numbers among those that are not the background's it is a gray-level image.
IMAGE_FRACTION = 0.8
# A brain takes up this share of its volume at least, the soft border of a tumor does not.
LARGE = 0.05
# Interpolated labels are resolved by distance to each clean label; beyond this many labels that is no mask.
MAX_INTERPOLATED_LABELS = 64
LARGEST = 2**31 - 1
# Masks of tumors have no more labels, with background and what splines add; in maps of more, thin ones are the rule.
MOST_PARTS = 8
# Labels that were scaled fill regions; fractions between labels lie in shells, thin along one axis.
LEAST_THICK = 0.5
# Linear interpolation leaves hardly a voxel so far (voxels) from a whole label, splines and smoothing leave many.
BLURRED, MOST_BLURRED = 3.0, 0.1


def is_interpolated(labels: np.ndarray, spacing: tuple[float, float, float]) -> bool:
    """Whether a tumor mask (X, Y, Z) was resampled like an image and rounded: its borders step through the numbers
    between. ``spacing`` in mm.

    Between 0 and 4, linear, B-spline and Gaussian interpolation leave thin shells of 1, 2 and 3, which are whole
    numbers and mean nothing. A border drawn by a person steps where a thin part lies between two others, not all along.
    Not for maps of tissues, which lie in shells by nature. Masks of 0, 1 and 2 in which 1 surrounds 2 cannot be told.
    """
    padded = np.pad(labels[bounding_box(labels > 0)], REACH)
    borders = [np.abs(np.diff(padded, axis=axis)) for axis in range(3)]
    faces, jumps = (sum(int(np.count_nonzero(step > least)) for step in borders) for least in (0, 1))
    if padded.max() > 2 and faces >= LEAST and jumps < SMOOTH * faces:
        return True
    inner = solid(padded)
    crossings = [_crossings(padded, inner, axis) for axis in range(3) if spacing[axis] < 2 * min(spacing)]
    low, high, stepped = (np.concatenate(parts) for parts in zip(*crossings, strict=True))
    far = high - low > 1
    outside = low == 0
    outer = float((high[outside] == 1).mean()) if outside.any() else 0.0
    last = int(padded.max())
    if np.count_nonzero(far) < LEAST or (outer >= OUTER and last < 4):
        return False
    limit = STEPPED_OUTER if outer >= OUTER else STEPPED if last > 2 else STEPPED_TWO
    return bool(stepped[far].mean() >= limit)


def _crossings(labels: np.ndarray, inner: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ways along ``axis`` between solid voxels of two values: the lower, the higher, whether it is stepped."""
    line, firm = np.moveaxis(labels, axis, -1).ravel(), np.moveaxis(inner, axis, -1).ravel()
    # Neighbors that are both solid have one value, so a way leads over others: few of the voxels begin one.
    first = np.flatnonzero(firm[:-1] & ~firm[1:])
    last = np.full_like(first, -1)
    for step in range(REACH, 1, -1):
        place = np.minimum(first + step, len(line) - 1)
        last = np.where(firm[place], place, last)
    ways = (last >= 0) & (line[first] != line[last])
    first, last = first[ways], last[ways]
    low, high = np.minimum(line[first], line[last]), np.maximum(line[first], line[last])
    stepped = np.zeros(len(first), bool)
    for step in range(1, REACH):
        between = line[np.minimum(first + step, last)]
        stepped |= (between > low) & (between < high)
    return low, high, stepped


def clean_values(data: np.ndarray, voxel_ml: float) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """The label map of a mask's numbers and what had to be put right for it.

    ``data``: (X, Y, Z), any number type; returns int32, no negative values. An error that is not fixable means that
    the numbers are no mask at all; the label map is then empty.
    """
    findings: list[Finding] = []
    if data.dtype.kind == "f":
        data = _without_nan(data, voxel_ml, findings)
        if not np.array_equal(data, np.rint(data)):
            data = _without_fractions(data, voxel_ml, findings)
    data = _without_negatives(data, voxel_ml, findings)
    if data.max(initial=0) > LARGEST:
        data = np.minimum(data.astype(np.float64), LARGEST)
    # Files come in Fortran order; every step from here on is faster in C order.
    return np.ascontiguousarray(data, dtype=np.int32), tuple(findings)


def _without_nan(data: np.ndarray, voxel_ml: float, findings: list[Finding]) -> np.ndarray:
    bad = ~np.isfinite(data)
    if not bad.any():
        return data
    sentence = f"The mask has {amount(int(bad.sum()), voxel_ml)} of NaN or infinite values."
    findings.append(Finding("not-a-number", ERROR, sentence, True, "They become background."))
    return np.where(bad, 0, data)


def _without_negatives(data: np.ndarray, voxel_ml: float, findings: list[Finding]) -> np.ndarray:
    if data.dtype.kind not in "if" or data.min(initial=0) >= 0:
        return data
    negative = data < 0
    sentence = (
        f"The mask has negative values, down to {data.min():g}, in {amount(int(negative.sum()), voxel_ml)}; labels "
        "cannot be negative."
    )
    findings.append(Finding("negative-values", ERROR, sentence, True, "They become background."))
    return np.where(negative, 0, data)


def _without_fractions(data: np.ndarray, voxel_ml: float, findings: list[Finding]) -> np.ndarray:
    whole = np.rint(data)
    fractional = np.abs(data - whole) > ROUNDING
    count = int(fractional.sum())
    if not count:
        sentence = f"The mask has fractional values within {ROUNDING:g} of whole numbers."
        findings.append(Finding("fractions", INFO, sentence, True, "They are rounded."))
        return whole
    levels = np.unique(data[fractional])
    if 1 < len(levels) <= MOST_PARTS and np.count_nonzero(_thick(data) & fractional) > LEAST_THICK * count:
        told = ", ".join(f"{level:.4g}" for level in levels)
        sentence = f"The labels are not whole numbers: whole parts of the mask hold {told}, as when labels were scaled."
        fix = "Save it with the whole numbers that its labels had."
        findings.append(Finding("fractions", ERROR, sentence, False, fix))
        return np.zeros_like(data)
    clean, counts = np.unique(whole[~fractional], return_counts=True)
    few = IMAGE_FRACTION * (data.size - counts.max(initial=0))
    shares = data.min() >= -ROUNDING and data.max() <= 1 + ROUNDING
    if count > (max(few, LARGE * data.size) if shares else few) or len(clean) > MAX_INTERPOLATED_LABELS:
        why = f"{count:,} of its voxels are fractions between {data.min():g} and {data.max():g}"
        findings.append(_looks_like_image(why, " Cut a probability map at 0.5 before." if shares else ""))
        return np.zeros_like(data)
    if shares:
        return _threshold(data, count, voxel_ml, findings)
    first = float(data[fractional][0])
    sentence = (
        f"{amount(count, voxel_ml)} hold fractions such as {first:.3g}, as when a mask was resampled like an image; "
        "between two labels such a number means neither."
    )
    sure = ~fractional & (_certain(whole, fractional) if len(clean) <= MOST_PARTS else True)
    result, distance = _nearest_label(whole, ~sure, np.unique(whole[sure]))
    if (distance > BLURRED).mean() > MOST_BLURRED:
        fix = "Too much of it is blurred. Take the original, or resample it again with nearest-neighbor interpolation."
        findings.append(Finding("fractions", ERROR, sentence, False, fix))
        return np.zeros_like(data)
    fix = "Each takes the nearest label that is whole all around; parts thinner than three voxels may be lost."
    findings.append(Finding("fractions", WARNING, sentence, True, fix))
    return result


def _thick(data: np.ndarray) -> np.ndarray:
    """Where a neighbor along each axis has the same value."""
    result = np.ones(data.shape, bool)
    for axis in range(3):
        same = np.diff(data, axis=axis) == 0
        result &= np.insert(same, 0, False, axis) | np.insert(same, same.shape[axis], False, axis)
    return result


def _certain(whole: np.ndarray, fractional: np.ndarray) -> np.ndarray:
    """Where a number is not whole by chance, as 2 is halfway from 0 to 4: amid its like, or far from fractions."""
    certain = solid(np.where(fractional, -1, whole))
    if not is_interpolated(np.maximum(whole, 0).astype(np.int32), (1.0, 1.0, 1.0)):
        certain |= distance_to(fractional, (1.0, 1.0, 1.0)) > BLURRED
    return certain


def _threshold(data: np.ndarray, count: int, voxel_ml: float, findings: list[Finding]) -> np.ndarray:
    inside = data >= 0.5
    sentence = f"The mask holds probabilities: {amount(count, voxel_ml)} lie between 0 and 1."
    fix = f"It is cut at 0.5, which keeps {amount(int(inside.sum()), voxel_ml)}."
    findings.append(Finding("probabilities", WARNING, sentence, True, fix))
    return inside.astype(np.uint8)


def _nearest_label(whole: np.ndarray, unsure: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give every unsure voxel the label of the nearest other one; also how far that is (voxels) from each of them."""
    result = np.where(unsure, 0, whole)
    best = np.full(np.count_nonzero(unsure), np.inf, dtype=np.float32)
    chosen = np.zeros(best.shape, dtype=whole.dtype)
    for value in labels:
        distance = distance_to((whole == value) & ~unsure, (1.0, 1.0, 1.0))[unsure]
        nearer = distance < best
        best[nearer], chosen[nearer] = distance[nearer], value
    result[unsure] = chosen
    return result, best


def _looks_like_image(why: str, advice: str = "") -> Finding:
    fix = f"Give the segmentation, not the MRI it was drawn on.{advice}"
    return Finding(GRAY_IMAGE, ERROR, f"This looks like a grayscale image, not a mask: {why}.", False, fix)


def too_many_values(labels: tuple[int, ...]) -> Finding:
    """The finding for a whole-numbered file with more values than any mask would have."""
    return _looks_like_image(f"it holds {len(labels)} different values from {min(labels)} to {max(labels)}")
