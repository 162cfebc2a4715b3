"""Cases that stand out of their dataset, or that no training should take unseen. Nothing is left out here, only said.

A value stands out by its robust z-score: its distance from the median of the dataset in units of 1.4826 times the
median absolute deviation, which for normally distributed values is the standard deviation and which outliers do not
change (Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..labels.findings import INFO, WARNING, listed, milliliters
from .duplicates import find_duplicates
from .facts import CaseFacts, Flag, ImageFacts

__all__ = ["Flag", "find_outliers"]

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


@dataclass(frozen=True)
class _Measure:
    """One number of every case: what it is called in a sentence, how it is written, and the least spread that counts.

    ``floor`` keeps a dataset of nearly equal values from flagging what nobody would see.
    """

    code: str
    what: str
    value: Callable[[CaseFacts], float]
    text: Callable[[float], str]
    floor: float


def find_outliers(facts: Sequence[CaseFacts]) -> tuple[Flag, ...]:
    """All flags over the cases of a dataset, in the order of the cases, warnings first."""
    flags = [flag for case in facts for flag in _of_one(case)]
    flags += _standing_out(facts)
    flags += _geometry(facts)
    flags += _without_tumor(facts)
    flags += find_duplicates(facts)
    order = {case.id: number for number, case in enumerate(facts)}
    return tuple(sorted(flags, key=lambda flag: (order[flag.case], flag.severity != WARNING)))


def _of_one(case: CaseFacts) -> list[Flag]:
    """What can be said of a case without the others."""
    flags = [Flag(code, WARNING, case.id, text) for code, text in case.findings if code in FINDINGS]
    flags += _tumor(case) + _lost(case) + _mask_on_air(case)
    for image in case.images:
        flags += _image(case, image)
    return flags


def _tumor(case: CaseFacts) -> list[Flag]:
    size = case.mask.tumor_ml
    if not 0 < size < TINY_ML:
        return []
    sentence = f"The tumor is tiny: {milliliters(size)}. Check that it is not a stray stroke."
    return [Flag("tiny-tumor", WARNING, case.id, sentence)]


def _lost(case: CaseFacts) -> list[Flag]:
    mask = case.mask
    if mask.lost_share == 0:
        return []
    share = _percent(mask.lost_share)
    sentence = f"{milliliters(mask.lost_ml)} of the {mask.kind} ({share}) lie outside the grid and are cut off"
    tumor = f", {milliliters(mask.tumor_lost_ml)} of the tumor among them" if mask.tumor_lost_ml else ""
    severity = WARNING if mask.tumor_lost_ml or mask.lost_share >= LOST else INFO
    return [Flag("lost-tissue", severity, case.id, f"{sentence}{tumor}. A larger grid keeps them.")]


def _mask_on_air(case: CaseFacts) -> list[Flag]:
    """Where all images are empty there is no head, whatever the mask says."""
    flags = []
    empty = min(image.empty for image in case.images)
    if empty > EMPTY[case.mask.kind]:
        sentence = f"{_percent(empty)} of the {case.mask.kind} in the mask is empty in every image. {TOGETHER}"
        flags.append(Flag("mask-outside-head", WARNING, case.id, sentence))
    tumor = min(image.tumor_empty for image in case.images)
    if tumor > TUMOR_EMPTY:
        sentence = f"{_percent(tumor)} of the tumor is empty in every image. {TOGETHER}"
        flags.append(Flag("tumor-outside-head", WARNING, case.id, sentence))
    return flags


def _image(case: CaseFacts, image: ImageFacts) -> list[Flag]:
    name, flags = f"The {image.modality} image", []
    if image.covered < 0.999:
        sentence = f"{name} does not reach {_percent(1 - image.covered)} of the {case.mask.kind}; there it is empty."
        flags.append(Flag("not-covered", WARNING, case.id, sentence))
    if image.surroundings > BRIGHT_AIR:
        shown = _percent((image.surroundings + 1) / 2)
        sentence = f"{name} is not dark around the head ({shown} of the full intensity). Set its background to 0."
        flags.append(Flag("bright-background", WARNING, case.id, sentence))
    for move in image.moves:
        if move.unusual:
            by = f"{move.shift_mm:.0f} mm and {move.rotation_degrees:.0f} degrees"
            sentence = f"{name} had to be moved by {by} onto {move.onto}. Check in the pictures that they match."
            flags.append(Flag("large-move", WARNING, case.id, sentence))
    return flags


def _measures(facts: Sequence[CaseFacts]) -> list[_Measure]:
    kind = facts[0].mask.kind
    measures = [
        _Measure("outline-ml", f"The volume of the {kind}", lambda c: c.mask.outline_ml, milliliters, 40.0),
        *(_extent_measure(kind, axis) for axis in range(3)),
    ]
    for number, image in enumerate(facts[0].images):
        measures += _intensity_measures(number, image.modality)
    return measures


def _extent_measure(kind: str, axis: int) -> _Measure:
    what = f"The size of the {kind} {NAMES[axis]}"
    return _Measure("extent", what, lambda c: c.mask.extent_mm[axis], lambda v: f"{v:.0f} mm", 3.0)


def _intensity_measures(number: int, modality: str) -> list[_Measure]:
    def brightness(case: CaseFacts) -> float:
        return (case.images[number].mean + 1) / 2

    def contrast(case: CaseFacts) -> float:
        return case.images[number].std / 2

    return [
        _Measure("brightness", f"The mean intensity of {modality}", brightness, _of_range, 0.02),
        _Measure("contrast", f"The standard deviation of the intensity of {modality}", contrast, _of_range, 0.01),
    ]


def _of_range(share: float) -> str:
    return f"{_percent(share)} of the full range"


def _standing_out(facts: Sequence[CaseFacts]) -> list[Flag]:
    """Cases with a measure far from that of the others."""
    if len(facts) < LEAST_CASES:
        return []
    flags = []
    for measure in _measures(facts):
        values = np.array([measure.value(case) for case in facts])
        median = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - median))), measure.floor)
        for case, value in zip(facts, values.tolist(), strict=True):
            score = (value - median) / spread
            if abs(score) >= SCORE:
                usual = f"the median of the dataset is {measure.text(median)}, robust z-score {score:+.1f}"
                sentence = f"{measure.what} is {measure.text(value)}, far from the others ({usual})."
                flags.append(Flag(measure.code, WARNING, case.id, sentence))
    return flags


def _geometry(facts: Sequence[CaseFacts]) -> list[Flag]:
    """Files whose voxels or orientation differ from what the dataset has."""
    if not facts:
        return []
    count = len(facts[0].images)
    usual = [float(np.median([max(c.images[k].geometry.spacing) for c in facts])) for k in range(count)]
    axes = [_usual_axes([c.images[k].geometry.orientation for c in facts]) for k in range(count)]
    flags = []
    for case in facts:
        coarse: dict[str, list[str]] = defaultdict(list)
        turned: dict[str, list[str]] = defaultdict(list)
        for image, spacing, orientation in zip(case.images, usual, axes, strict=True):
            if text := _coarse(image, spacing):
                coarse[text].append(image.modality)
            if orientation not in (None, image.geometry.orientation):
                turned[f"{image.geometry.orientation}, unlike most ({orientation})"].append(image.modality)
        for text, names in coarse.items():
            flags.append(
                Flag("voxels", WARNING, case.id, f"{_images(names)} voxels of {text}. A model learns their blur.")
            )
        for text, names in turned.items():
            sentence = f"{_images(names)} the voxel axes {text}. Check in the pictures that the head lies right."
            flags.append(Flag("axes", INFO, case.id, sentence))
    return flags


def _usual_axes(orientations: Sequence[str]) -> str | None:
    """The orientation of nearly all, None where they differ."""
    common, count = Counter(orientations).most_common(1)[0]
    return common if count >= USUAL * len(orientations) else None


def _images(names: Sequence[str]) -> str:
    return f"The {names[0]} image has" if len(names) == 1 else f"The {listed(tuple(names))} images have"


def _coarse(image: ImageFacts, usual: float) -> str:
    """What is wrong with the voxels of an image; empty where nothing is. ``usual``: longest side in the dataset, mm."""
    longest, size = max(image.geometry.spacing), " x ".join(f"{s:.3g}" for s in image.geometry.spacing)
    if longest > COARSE * usual:
        return f"{size} mm, coarser than usual here ({usual:.3g} mm)"
    return f"{size} mm: thick slices" if longest > THICK * min(image.geometry.spacing) else ""


def _without_tumor(facts: Sequence[CaseFacts]) -> list[Flag]:
    """Cases without a tumor, where most have one."""
    empty = [case for case in facts if case.mask.tumor_ml == 0]
    severity = WARNING if len(empty) < len(facts) / 2 else INFO
    file = {case.id: "The mask has no tumor" if case.mask.geometry else "The case has no mask" for case in empty}
    end = "The model learns healthy tissue from it; leave it out if you do not want that."
    return [Flag("no-tumor", severity, case.id, f"{file[case.id]}. {end}") for case in empty]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 or share <= 0 else f"{share:.1%}" if share >= 0.001 else "less than 0.1%"
