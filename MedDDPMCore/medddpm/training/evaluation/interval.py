"""Means over patients with their confidence intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

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
    return _bootstrap(len(values), lambda weights: _means(weights, values, log))


def difference_of(values: Sequence[float], others: Sequence[float]) -> Estimate | None:
    """The mean difference of two values of the same patients."""
    return mean_of(np.subtract(values, others).tolist())


def ratio_of(values: Sequence[float], others: Sequence[float], log: bool = False) -> Estimate | None:
    """The ratio of the means of two values of the same patients; None where that of ``others`` may well be 0."""
    below = mean_of(others, log)
    if below is None or below.value == 0 or (below.low or 0) < 0 < (below.high or 0):
        return None
    return _bootstrap(len(values), lambda weights: _means(weights, values, log) / _means(weights, others, log))


def _means(weights: np.ndarray, values: Sequence[float], log: bool) -> np.ndarray:
    if log:
        return np.exp(weights @ np.log(np.maximum(values, 1e-12)))
    return weights @ np.asarray(values)


def _bootstrap(patients: int, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate | None:
    """A statistic of weights (resamples, patients) over patients, with the percentile bootstrap's interval.

    Efron and Tibshirani 1993, chapter 13. With few patients the interval is rather too narrow.
    """
    if patients == 0:
        return None
    value = float(statistic(np.full((1, patients), 1 / patients))[0])
    if patients == 1:
        return Estimate(value, None, None, 1)
    weights, chances = _resamples(patients)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = statistic(weights)
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
