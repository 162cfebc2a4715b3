"""Cases that are there twice: the same voxels, nearly the same images, or their mirror images."""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume, bounding_box
from ..labels.findings import INFO, WARNING, listed
from .facts import CaseFacts, Flag

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
    """Each picture less its own smoothed version, as a row of length 1."""
    rows = (pictures - _smooth(pictures)).reshape(len(pictures), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _smooth(pictures: np.ndarray) -> np.ndarray:
    """Mean over 3 voxels along each axis."""
    smooth = pictures
    for axis in (1, 2, 3):
        padded = np.pad(smooth, [(1, 1) if a == axis else (0, 0) for a in range(4)], mode="edge")
        parts = [np.take(padded, range(k, k + SIDE), axis=axis) for k in range(3)]
        smooth = (parts[0] + parts[1] + parts[2]) / np.float32(3)
    return smooth


def find_duplicates(facts: Sequence[CaseFacts]) -> list[Flag]:
    """Flags for both cases of every pair that shares voxels, looks or mask, the plainest first.

    Of more than two that belong together each is told with one other: ten copies are ten cases, not 45 pairs.
    """
    flags: list[Flag] = []
    group = list(range(len(facts)))  # cases that were told to belong together have one number
    for pair, code, severity, what in (*_same_images(facts), *_alike(facts), *_same_masks(facts)):
        one, other = (group[number] for number in pair)
        if one != other:
            group = [one if number == other else number for number in group]
            flags += _both(facts, pair, code, severity, what)
    return flags + [flag for case in facts for flag in _within(case)]


Found = Iterator[tuple[Pair, str, str, str]]


def _same_images(facts: Sequence[CaseFacts]) -> Found:
    """Pairs with equal voxels in any modality."""
    shared: dict[Pair, list[str]] = defaultdict(list)
    for number, image in enumerate(facts[0].images if facts else ()):
        for pair in _equal(facts, lambda case, number=number: case.images[number].voxels):  # type: ignore[misc]
            shared[pair].append(image.modality)
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
    for pair in _equal(facts, lambda case: case.mask.voxels if case.mask.tumor_ml > 0 else ""):
        yield pair, "same-mask", WARNING, "has other images but the very same mask as"


def _equal(facts: Sequence[CaseFacts], key: Callable[[CaseFacts], str]) -> Iterator[Pair]:
    """Pairs of cases with the same key that is not empty; of three equal cases each with the first."""
    first: dict[str, int] = {}
    for number, case in enumerate(facts):
        text = key(case)
        if text and text in first:
            yield first[text], number
        elif text:
            first[text] = number


def _both(facts: Sequence[CaseFacts], pair: Pair, code: str, severity: str, what: str) -> list[Flag]:
    flags = []
    for this, that in (pair, pair[::-1]):
        case, other = facts[this], facts[that]
        whose = "of the same patient" if case.patient == other.patient else "which is listed as another patient"
        sentence = f"It {what} {other.id}, {whose}. Keep one of the two."
        flags.append(Flag(code, severity, case.id, sentence, (other.id,)))
    return flags


def _within(case: CaseFacts) -> Iterator[Flag]:
    """Two modalities of a case that are one and the same image."""
    for one, other in combinations(case.images, 2):
        if one.voxels == other.voxels:
            sentence = f"Its {one.modality} and {other.modality} images are the same. One of the files is a wrong copy."
            yield Flag("same-modalities", WARNING, case.id, sentence)
