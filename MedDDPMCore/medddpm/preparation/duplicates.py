"""Cases that are there twice: the same voxels, nearly the same images, or their mirror images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from ..labels.findings import listed
from .facts import CaseFacts
from .flags import INFO, WARNING, Flag
from .likeness import likenesses

# Pictures of two patients correlate by 0.84 at most (28 patients compared), those of one scan saved twice by 0.99.
NEARLY_SAME = 0.95

Pair = tuple[int, int]


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
        whose = "of the same patient" if case.patient == other.patient else "which is said to be another patient"
        sentence = f"It {what} {other.id}, {whose}. Keep one of the two."
        flags.append(Flag(code, severity, case.id, sentence, (other.id,)))
    return flags


def _within(case: CaseFacts) -> Iterator[Flag]:
    """Two modalities of a case that are one and the same image."""
    for one, other in combinations(case.images, 2):
        if one.voxels == other.voxels:
            sentence = f"Its {one.modality} and {other.modality} images are the same. One of the files is a wrong copy."
            yield Flag("same-modalities", WARNING, case.id, sentence)
