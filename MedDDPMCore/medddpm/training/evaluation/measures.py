"""The measures of realism: what each means, what value is good, and their means over patients.

Each is taken of real, synthetic and baseline images alike, and judged by the real ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

import numpy as np

REAL, SYNTHETIC, BASELINE = "real", "synthetic", "baseline"
ALL = "all"  # in place of a modality: of all of them together


class Reading(NamedTuple):
    """One value of one image (or pair of images): ``kind`` is real, synthetic or baseline; ``seed`` of a sample."""

    name: str
    modality: str
    kind: str
    case: str
    seed: int | None
    value: float


@dataclass(frozen=True)
class Measure:
    """What a measure means in one sentence, and how the synthetic images are judged.

    ``good``: bounds of what ``against`` names: the ratio of synthetic to real, their difference, or the synthetic
    value; the upper one None for no limit, and no bounds where none can be told. ``log``: geometric means.
    """

    heading: str
    meaning: str
    good: tuple[float, float | None] | None
    against: str = "ratio"
    digits: int = 2
    log: bool = False


def _power(short: str, long: str, shows: str) -> Measure:
    return Measure(f"Power at {short} to {long} mm", f"Strength of {shows}.", (1 / 1.5, 1.5), digits=0, log=True)


def _contrast(heading: str, meaning: str) -> Measure:
    return Measure(heading, f"How much {meaning}, in standard deviations within them (darker: negative).", (0.8, 1.2))


def _anatomy(tissue: str) -> Measure:
    return Measure(
        f"Anatomy, {tissue}", f"Dice of the {tissue} found in the image and asked for by the mask.", (0.8, 1), "value"
    )


def _tumor(region: str) -> Measure:
    return Measure(
        f"Tumor, {region}",
        f"Dice of the {region} that a network trained on real patients finds in the image, and the mask's.",
        (0.85, None),
    )


MEASURES = {
    "power_2_4": _power("2", "4", "the finest detail: vessels, borders, and noise"),
    "power_4_8": _power("4", "8", "cortex and sulci"),
    "power_8_16": _power("8", "16", "gyri, the horns of the ventricles, the tumor's rim"),
    "power_16_32": _power("16", "32", "ventricles, deep gray matter, the tumor's parts"),
    "power_32_64": _power("32", "64", "lobes, a large tumor with its edema"),
    "power_2.5_4": _power("2.5", "4", "what interpolation from larger voxels loses"),
    "kurtosis": Measure(
        "Kurtosis of the 4 mm band",
        "Sharp vessels, sulci and rims stand out from smooth tissue; an even grain has a value of 0.",
        (0.5, 2),
    ),
    "gray_white": _contrast("Gray-white contrast", "brighter white matter is than gray matter"),
    "ventricles": _contrast("Ventricle contrast", "brighter ventricles are than white matter"),
    "anatomy_ventricles": _anatomy("ventricles"),
    "anatomy_gray": _anatomy("gray matter"),
    "anatomy_white": _anatomy("white matter"),
    "tumor_whole": _tumor("whole tumor"),
    "tumor_core": _tumor("tumor core"),
    "tumor_enhancing": _tumor("enhancing tumor"),
    "among_masks": Measure(
        "MS-SSIM among images of different masks",
        "How alike the images of different patients are; more alike than the real ones means too little variety.",
        (-0.1, 0.1),
        "difference",
        3,
    ),
    "among_samples": Measure(
        "MS-SSIM among samples of one mask",
        "How alike several images of the same mask are; 1: the seed changes nothing.",
        None,
        "value",
        3,
    ),
    "classifier": Measure(
        "Real or synthetic, AUC",
        "How often a classifier that has not seen the patient tells a synthetic slice from a real one by its texture; "
        "0.5 is chance.",
        (0.4, 0.6),
        "value",
    ),
}


@dataclass(frozen=True)
class Measured:
    """A measure of one modality over all patients. ``judged``: the ratio, difference or value that ``good`` is of."""

    name: str
    modality: str
    real: Estimate | None = None
    synthetic: Estimate | None = None
    baseline: Estimate | None = None
    judged: Estimate | None = None

    @property
    def good(self) -> bool | None:
        """Whether ``judged`` lies within the bounds; None where there is nothing to judge."""
        bounds = MEASURES[self.name].good
        if bounds is None or self.judged is None:
            return None
        low, high = bounds
        return low <= self.judged.value and (high is None or self.judged.value <= high)


def measured(readings: Iterable[Reading], patients: Mapping[str, str]) -> tuple[Measured, ...]:
    """All measures by modality, in the order of ``MEASURES``; ``patients``: case -> patient.

    Values of one patient (several cases, several samples) are averaged first: patients are what is drawn at random.
    """
    values: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for name, modality, kind, case, _, value in readings:
        kinds = values.setdefault((name, modality), {})
        kinds.setdefault(kind, {}).setdefault(patients[case], []).append(value)
    order = {name: i for i, name in enumerate(MEASURES)}
    means = {
        key: {kind: {patient: fmean(several) for patient, several in by.items()} for kind, by in kinds.items()}
        for key, kinds in values.items()
    }
    return tuple(_measured(*key, means[key]) for key in sorted(means, key=lambda key: order[key[0]]))


def _measured(name: str, modality: str, means: Mapping[str, Mapping[str, float]]) -> Measured:
    measure = MEASURES[name]
    estimates = {kind: mean_of(list(by.values()), measure.log) for kind, by in means.items()}
    real, synthetic = means.get(REAL, {}), means.get(SYNTHETIC, {})
    both = [patient for patient in synthetic if patient in real]
    pair = [synthetic[patient] for patient in both], [real[patient] for patient in both]
    judged = {
        "value": lambda: estimates.get(SYNTHETIC),
        "difference": lambda: mean_of(np.subtract(*pair).tolist()),
        "ratio": lambda: ratio_of(*pair, measure.log),
    }[measure.against]()
    return Measured(name, modality, estimates.get(REAL), estimates.get(SYNTHETIC), estimates.get(BASELINE), judged)


LEVEL = 0.95
FEW = 7  # patients up to which every resample is counted (1,716 different ones), not some drawn
DRAWN = 5000


@dataclass(frozen=True)
class Estimate:
    """A figure over ``patients`` and the bounds of its 95 % interval; None for a single patient."""

    value: float
    low: float | None
    high: float | None
    patients: int


def mean_of(values: Sequence[float], log: bool = False) -> Estimate | None:
    """The mean of one value a patient, with ``log`` the geometric one; None where there are no values."""
    return bootstrap(len(values), lambda weights: _weighted(weights, values, log))


def ratio_of(values: Sequence[float], others: Sequence[float], log: bool = False) -> Estimate | None:
    """The ratio of the means of two values of the same patients; None where that of ``others`` may well be 0."""
    below = mean_of(others, log)
    if below is None or below.value == 0 or (below.low or 0) < 0 < (below.high or 0):
        return None
    return bootstrap(len(values), lambda weights: _weighted(weights, values, log) / _weighted(weights, others, log))


def _weighted(weights: np.ndarray, values: Sequence[float], log: bool) -> np.ndarray:
    if log:
        return np.exp(weights @ np.log(np.maximum(values, 1e-12)))
    return weights @ np.asarray(values)


def bootstrap(patients: int, statistic: Callable[[np.ndarray], np.ndarray], centered: bool = False) -> Estimate | None:
    """A statistic of weights (resamples, patients) over patients, with the percentile bootstrap's interval.

    Efron and Tibshirani 1993, chapter 13. With few patients the interval is rather too narrow. ``centered``: without
    the bias of the resamples, which see fewer different patients; for distances of sets. Resamples for which the
    statistic is NaN do not count.
    """
    if patients == 0:
        return None
    value = float(statistic(np.full((1, patients), 1 / patients))[0])
    if math.isnan(value):
        return None
    if patients == 1:
        return Estimate(value, None, None, 1)
    weights, chances = _resamples(patients)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = statistic(weights)
    known = ~np.isnan(found)
    found, chances = found[known], chances[known] / chances[known].sum()
    if centered:
        found = found + value - chances @ found
    order = np.argsort(found)
    below = np.cumsum(chances[order])
    ends = np.searchsorted(below, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = found[order][ends].tolist()
    return Estimate(value, low, high, patients)


@lru_cache(maxsize=4)
def _resamples(patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the patients in each resample, and the chance of each: all of few patients, else drawn ones."""
    if patients > FEW:
        counts = np.random.default_rng(0).multinomial(patients, np.full(patients, 1 / patients), DRAWN)
        return counts / patients, np.full(DRAWN, 1 / DRAWN)
    picks = itertools.combinations_with_replacement(range(patients), patients)
    counts = np.stack([np.bincount(pick, minlength=patients) for pick in picks])
    ways = [math.factorial(patients) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return counts / patients, np.array(ways) / patients**patients
