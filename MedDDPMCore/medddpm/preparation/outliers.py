"""Cases that stand out of their dataset, or that no training should take unseen. Nothing is left out here, only said.

A value stands out by its robust z-score: its distance from the median of the dataset in units of 1.4826 times the
median absolute deviation, which for normally distributed values is the standard deviation and which outliers do not
change (Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993).
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume, bounding_box
from ..labels.findings import INFO, WARNING, listed, milliliters
from .facts import CaseFacts, Flag

# From this score on a value stands out; with fewer cases the median absolute deviation says little.
SCORE, LEAST_CASES = 5.0, 8
# Spacings beyond this multiple of the dataset's median, and sides of voxels beyond this ratio, are coarse.
COARSE, THICK = 1.5, 3.0
# Orientations that at least this share of the files have are the usual one.
USUAL = 0.8
# A tumor below this (mL) is tiny.
TINY_ML = 0.1
# Air in the brain or in a head (which has sinuses), and in the tumor, beyond these shares: the mask lies elsewhere.
EMPTY = {"brain": 0.1, "head": 0.35}
TUMOR_EMPTY = 0.1
# Scaled, the space around the head is near -1; above this it is no empty space.
BRIGHT_AIR = -0.8
# From this share of the head on (or with any tumor), what the grid cuts off is too much.
LOST = 0.02
# What the check of a mask found that concerns the case and not only its file.
FINDINGS = frozenset(
    {"tumor-outside", "image-mismatch", "orientation", "islands", "outline-size", "outline-extent", "tumor-size"}
)
TOGETHER = "Check that mask and images belong together."
NAMES = ("from right to left", "from front to back", "from foot to head")


def find_outliers(facts: Sequence[CaseFacts]) -> tuple[Flag, ...]:
    """All flags over the cases of a dataset, in the order of the cases, warnings first."""
    flags = [flag for case in facts for flag in (*_of_mask(case), *_of_images(case))]
    flags += [*_standing_out(facts), *_geometry(facts), *_without_tumor(facts), *find_duplicates(facts)]
    order = {case.id: number for number, case in enumerate(facts)}
    return tuple(sorted(flags, key=lambda flag: (order[flag.case], flag.severity != WARNING)))


def _of_mask(case: CaseFacts) -> Iterator[Flag]:
    """What the mask of a case tells without the others."""
    mask = case.mask
    yield from (Flag(code, WARNING, case.id, text) for code, text in case.findings if code in FINDINGS)
    if 0 < mask.tumor_ml < TINY_ML:
        sentence = f"The tumor is tiny: {milliliters(mask.tumor_ml)}. Check that it is not a stray stroke."
        yield Flag("tiny-tumor", WARNING, case.id, sentence)
    if mask.lost_share:
        sentence = f"{milliliters(mask.lost_ml)} of the {mask.kind} ({_percent(mask.lost_share)}) lie outside the grid"
        tumor = f", {milliliters(mask.tumor_lost_ml)} of the tumor among them" if mask.tumor_lost_ml else ""
        severity = WARNING if mask.tumor_lost_ml or mask.lost_share >= LOST else INFO
        yield Flag("lost-tissue", severity, case.id, f"{sentence} and are cut off{tumor}. A larger grid keeps them.")
    # Where all images are empty there is no head, whatever the mask says.
    empty = min(image.empty for image in case.images)
    if empty > EMPTY[mask.kind]:
        sentence = f"{_percent(empty)} of the {mask.kind} in the mask is empty in every image. {TOGETHER}"
        yield Flag("mask-outside-head", WARNING, case.id, sentence)
    empty = min(image.tumor_empty for image in case.images)
    if empty > TUMOR_EMPTY:
        sentence = f"{_percent(empty)} of the tumor is empty in every image. {TOGETHER}"
        yield Flag("tumor-outside-head", WARNING, case.id, sentence)


def _of_images(case: CaseFacts) -> Iterator[Flag]:
    """What each image of a case tells without the others."""
    for image in case.images:
        name = f"The {image.modality} image"
        if image.covered < 0.999:
            sentence = (
                f"{name} does not reach {_percent(1 - image.covered)} of the {case.mask.kind}; there it is empty."
            )
            yield Flag("not-covered", WARNING, case.id, sentence)
        if image.surroundings > BRIGHT_AIR:
            shown = _percent((image.surroundings + 1) / 2)
            sentence = f"{name} is not dark around the head ({shown} of the full intensity). Set its background to 0."
            yield Flag("bright-background", WARNING, case.id, sentence)
        for move in image.moves:
            if move.unusual:
                by = f"{move.shift_mm:.0f} mm and {move.rotation_degrees:.0f} degrees"
                sentence = f"{name} had to be moved by {by} onto {move.onto}. Check in the pictures that they match."
                yield Flag("large-move", WARNING, case.id, sentence)


def _standing_out(facts: Sequence[CaseFacts]) -> Iterator[Flag]:
    """Cases with a number far from that of the others."""
    if len(facts) < LEAST_CASES:
        return
    kind = facts[0].mask.kind
    numbers: list[tuple[str, str, list[float], Callable[[float], str], float]] = []
    # What it is called, its values, how they are written, and the least spread that counts: nearly equal values are
    # not flagged for what nobody would see.
    outlines = [c.mask.outline_ml for c in facts]
    numbers.append(("outline-ml", f"The volume of the {kind}", outlines, milliliters, 40.0))
    for axis, name in enumerate(NAMES):
        extents = [c.mask.extent_mm[axis] for c in facts]
        numbers.append(("extent", f"The size of the {kind} {name}", extents, "{:.0f} mm".format, 3.0))
    for k, image in enumerate(facts[0].images):
        mean, deviation = "The mean intensity of", "The standard deviation of the intensity of"
        means, deviations = [(c.images[k].mean + 1) / 2 for c in facts], [c.images[k].std / 2 for c in facts]
        numbers.append(("brightness", f"{mean} {image.modality}", means, _of_range, 0.02))
        numbers.append(("contrast", f"{deviation} {image.modality}", deviations, _of_range, 0.01))
    for code, what, values, written, floor in numbers:
        median = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(np.subtract(values, median)))), floor)
        for case, value in zip(facts, values, strict=True):
            score = (value - median) / spread
            if abs(score) >= SCORE:
                usual = f"the median of the dataset is {written(median)}, robust z-score {score:+.1f}"
                sentence = f"{what} is {written(value)}, far from the others ({usual})."
                yield Flag(code, WARNING, case.id, sentence)


def _geometry(facts: Sequence[CaseFacts]) -> Iterator[Flag]:
    """Files whose voxels or orientation differ from what the dataset has."""
    columns = list(zip(*(case.images for case in facts), strict=True))
    usual = [float(np.median([max(image.geometry.spacing) for image in column])) for column in columns]
    common = [Counter(image.geometry.orientation for image in column).most_common(1)[0] for column in columns]
    axes = [orientation if count >= USUAL * len(facts) else None for orientation, count in common]
    for case in facts:
        coarse: dict[str, list[str]] = defaultdict(list)
        turned: dict[str, list[str]] = defaultdict(list)
        for image, spacing, orientation in zip(case.images, usual, axes, strict=True):
            longest, size = max(image.geometry.spacing), " x ".join(f"{s:.3g}" for s in image.geometry.spacing)
            if longest > COARSE * spacing:
                coarse[f"{size} mm, coarser than usual here ({spacing:.3g} mm)"].append(image.modality)
            elif longest > THICK * min(image.geometry.spacing):
                coarse[f"{size} mm: thick slices"].append(image.modality)
            if orientation not in (None, image.geometry.orientation):
                turned[f"{image.geometry.orientation}, unlike most ({orientation})"].append(image.modality)
        for text, names in coarse.items():
            sentence = f"{_images(names)} voxels of {text}. A model learns their blur."
            yield Flag("voxels", WARNING, case.id, sentence)
        for text, names in turned.items():
            sentence = f"{_images(names)} the voxel axes {text}. Check in the pictures that the head lies right."
            yield Flag("axes", INFO, case.id, sentence)


def _images(names: Sequence[str]) -> str:
    return f"The {names[0]} image has" if len(names) == 1 else f"The {listed(tuple(names))} images have"


def _without_tumor(facts: Sequence[CaseFacts]) -> Iterator[Flag]:
    """Cases without a tumor, where most have one."""
    empty = [case for case in facts if case.mask.tumor_ml == 0]
    severity = WARNING if len(empty) < len(facts) / 2 else INFO
    for case in empty:
        what = "The mask has no tumor" if case.mask.geometry else "The case has no mask"
        sentence = f"{what}. The model learns healthy tissue from it; leave it out if you do not want that."
        yield Flag("no-tumor", severity, case.id, sentence)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 or share <= 0 else f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def _of_range(share: float) -> str:
    return f"{_percent(share)} of the full range"


SIDE = 16
_LIMIT = 127.0
# Pictures of two patients correlate by 0.84 at most (28 patients compared), those of one scan saved twice by 0.99.
NEARLY_SAME = 0.95

Pair = tuple[int, int]


def fingerprint(image: Volume, outline: np.ndarray) -> str:
    """``image`` ([-1, 1]) in the box of ``outline`` (bool) along the patient's axes, ``SIDE`` cubed, as base64 text."""
    box = bounding_box(outline)
    if box is None:
        return ""
    corners = np.array(np.meshgrid(*[(s.start - 0.5, s.stop - 0.5) for s in box], indexing="ij")).reshape(3, -1)
    world = image.affine[:3, :3] @ corners + image.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    affine = np.diag([*((high - low) / SIDE), 1.0])
    affine[:3, 3] = low + (high - low) / SIDE / 2
    coarse = resample(image.data, index_map(affine, image.affine), (SIDE, SIDE, SIDE), -1.0)
    return base64.b64encode(np.rint(np.clip(coarse, -1, 1) * _LIMIT).astype(np.int8).tobytes()).decode("ascii")


def likenesses(fingerprints: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of every two pictures, (N, N) in [-1, 1], as they are and with the second one mirrored left-right.

    What all heads have in common is taken out first: only detail counts. 0 where a fingerprint is none.
    """
    pictures = np.stack([_picture(text) for text in fingerprints])
    straight, mirrored = _detail(pictures), _detail(pictures[:, ::-1])
    return straight @ straight.T, straight @ mirrored.T


def _picture(text: str) -> np.ndarray:
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    except (binascii.Error, ValueError):
        values = np.zeros(0, np.int8)
    if values.size != SIDE**3:
        return np.zeros((SIDE, SIDE, SIDE), np.float32)
    return values.reshape(SIDE, SIDE, SIDE).astype(np.float32) / _LIMIT


def _detail(pictures: np.ndarray) -> np.ndarray:
    """Each picture less its own mean over 3 voxels along each axis, as a row of length 1."""
    smooth = pictures
    for axis in (1, 2, 3):
        padded = np.pad(smooth, [(1, 1) if a == axis else (0, 0) for a in range(4)], mode="edge")
        parts = [np.take(padded, range(k, k + SIDE), axis=axis) for k in range(3)]
        smooth = (parts[0] + parts[1] + parts[2]) / np.float32(3)
    rows = (pictures - smooth).reshape(len(pictures), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def find_duplicates(facts: Sequence[CaseFacts]) -> Iterator[Flag]:
    """Flags for both cases of every pair that shares voxels, looks or mask, the plainest first.

    Of more than two that belong together each is told with one other: ten copies are ten cases, not 45 pairs. Last,
    modalities of a case that are one and the same image.
    """
    group = list(range(len(facts)))  # cases that were told to belong together have one number
    for pair, code, severity, what in (*_same_images(facts), *_alike(facts), *_same_masks(facts)):
        one, other = (group[number] for number in pair)
        if one == other:
            continue
        group = [one if number == other else number for number in group]
        for this, that in (pair, pair[::-1]):
            case, twin = facts[this], facts[that]
            whose = "of the same patient" if case.patient == twin.patient else "which is listed as another patient"
            yield Flag(code, severity, case.id, f"It {what} {twin.id}, {whose}. Keep one of the two.", (twin.id,))
    for case in facts:
        for first, second in combinations(case.images, 2):
            if first.voxels == second.voxels:
                names = f"{first.modality} and {second.modality}"
                sentence = f"Its {names} images are the same. One of the files is a wrong copy."
                yield Flag("same-modalities", WARNING, case.id, sentence)


Found = Iterator[tuple[Pair, str, str, str]]


def _same_images(facts: Sequence[CaseFacts]) -> Found:
    """Pairs with equal voxels in any modality."""
    shared: dict[Pair, list[str]] = defaultdict(list)
    for images in zip(*(case.images for case in facts), strict=True):
        for pair in _equal([image.voxels for image in images]):
            shared[pair].append(images[0].modality)
    for pair, names in shared.items():
        yield pair, "duplicate", WARNING, f"has the same {listed(tuple(names))} image{'s' if len(names) > 1 else ''} as"


def _alike(facts: Sequence[CaseFacts]) -> Found:
    """Pairs whose first images look the same, as they are or mirrored left-right."""
    if len(facts) < 2:
        return
    straight, mirrored = likenesses([case.fingerprint for case in facts])
    for i, j in np.argwhere(np.triu(np.maximum(straight, mirrored) >= NEARLY_SAME, 1)).tolist():
        turned = bool(mirrored[i, j] > straight[i, j])
        what = "looks like the mirror image of" if turned else "looks nearly the same as"
        # Two visits of one patient can be so alike, two patients never.
        severity = INFO if facts[i].patient == facts[j].patient else WARNING
        yield (i, j), "mirrored" if turned else "near-duplicate", severity, what


def _same_masks(facts: Sequence[CaseFacts]) -> Found:
    """Pairs with one tumor mask for different images."""
    for pair in _equal([case.mask.voxels if case.mask.tumor_ml > 0 else "" for case in facts]):
        yield pair, "same-mask", WARNING, "has other images but the very same mask as"


def _equal(keys: Sequence[str]) -> Iterator[Pair]:
    """Pairs of places with the same key that is not empty; of three equal ones each with the first."""
    first: dict[str, int] = {}
    for number, key in enumerate(keys):
        if key and first.setdefault(key, number) != number:
            yield first[key], number
