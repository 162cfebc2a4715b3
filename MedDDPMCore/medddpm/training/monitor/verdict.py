"""A plain verdict on how a training goes, from its metrics alone.

Overfitting (the validation loss rises) and memorization (samples repeat training images) are two of them.

All figures are noisy. Whether they went up or down is told by comparing the median of the newer half of a window with
that of the older half, against the scatter that the series itself shows around straight lines; small changes count as
none. The verdict therefore does not depend on the unit of the loss, and changes late rather than back and forth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("early", "improving", "flat", "diverging", "overfitting", "memorizing")
MIN_POINTS = 6  # of a series, before anything is said of it
WINDOW = (6, 24)  # newest points that are looked at: a third of all, within these limits
TRAIN_POINTS = 24  # means that the noisy training loss is reduced to
MIN_LINES = 2 * TRAIN_POINTS  # of training loss, before it is taken for lack of a validation loss
LATEST = 5  # newest lines that must all but lie far above the rest to be a burst
FINE = 0.03  # a plateau is one where a fall by this share would have been seen
FALL, RISE = 0.003, 0.02  # relative changes that count, besides being above the scatter
FALL_SCATTER, RISE_SCATTER = 2.0, 4.0  # in standard errors
BURST = 1.5  # a training loss so many times its best is lost
Metric = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """``kind`` is one of KINDS; ``sentence`` says what is seen and what to do."""

    kind: str
    sentence: str


def judge(history: Sequence[Metric]) -> Verdict:
    """The verdict on the lines of ``metrics.jsonl`` (kinds "train", "validation" and "quality"), oldest first.

    Of an iteration that was computed twice (after a resume) the newer line counts. The validation loss decides; where
    there is none (or not enough yet) the training loss does.
    """
    whole = series(history, "train"), series(history, "validation")
    train, validation = (finite(losses) for losses in whole)
    return (
        _not_finite(*whole)
        or _lost(train)
        or _copies(history)
        or _overfitted(train, validation)
        or _course(train, validation)
    )


def series(history: Sequence[Metric], kind: str) -> np.ndarray:
    """Iterations and losses (2, N), ascending, of the lines of a kind; null and anything that is no number are NaN."""
    found: dict[int, float] = {}
    for line in history:
        if line.get("kind") == kind and isinstance(line.get("iteration"), int):
            value = line.get("loss")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            found[line["iteration"]] = float(value) if number else math.nan  # type: ignore[arg-type]
    order = sorted(found)
    return np.array([order, [found[i] for i in order]], float)


def finite(losses: np.ndarray) -> np.ndarray:
    """Iterations and losses without those that are not finite."""
    return losses[:, np.isfinite(losses[1])]


def _not_finite(train: np.ndarray, validation: np.ndarray) -> Verdict | None:
    for name, losses in (("training", train), ("validation", validation)):
        if losses.size and not np.isfinite(losses[1, -1]):
            return Verdict(
                "diverging",
                f"The {name} loss at iteration {losses[0, -1]:.0f} is no longer a finite number. Stop, and resume "
                "from an earlier checkpoint with a lower learning rate (optimizer.lr) or a smaller "
                "optimizer.clip_norm.",
            )
    return None


def _lost(train: np.ndarray) -> Verdict | None:
    """The training loss ``BURST`` times the best level so far, and far outside of the scatter: no noise does that."""
    for values in (train[1], thinned(train, TRAIN_POINTS)[1]):
        past, latest = values[:-LATEST], values[-LATEST:]
        if len(past) < MIN_POINTS:
            continue
        best, now = _medians(past, LATEST).min(), np.median(latest)
        if now > BURST * best and now - best > RISE_SCATTER * max(scatter(past), scatter(latest)):
            return Verdict(
                "diverging",
                f"The training loss has grown from {best:.4g} to {now:.4g}. Stop, and resume from an earlier "
                "checkpoint with a lower learning rate (optimizer.lr).",
            )
    return None


def _copies(history: Sequence[Metric]) -> Verdict | None:
    """Samples of the newest round that repeat a training case."""
    rounds = [line for line in history if line.get("kind") == "quality" and isinstance(line.get("iteration"), int)]
    if not rounds:
        return None
    newest = max(line["iteration"] for line in rounds)
    latest = {line.get("case"): line for line in rounds if line["iteration"] == newest}
    copied = [line for line in latest.values() if line.get("copy") is True]
    if not copied or len(copied) * 2 < len(latest):
        return None
    near = copied[0].get("nearest_training") or {}
    return Verdict(
        "memorizing",
        f"{len(copied)} of {len(latest)} samples at iteration {newest} repeat a training case (the one for "
        f"{copied[0].get('case')} is nearly {near.get('case')}). Do not pass this model on; use an earlier checkpoint, "
        "more cases, more augmentation or a smaller network.",
    )


def _overfitted(train: np.ndarray, validation: np.ndarray) -> Verdict | None:
    """The validation loss has left its best for good, while the training loss has not."""
    iterations, values = validation
    if len(values) < MIN_POINTS:
        return None
    medians = _medians(values, 3)
    best = int(medians.argmin())
    since = validation[:, best:]
    if since.shape[1] < MIN_POINTS:
        return None
    late = np.median(values[-3:])
    clear = max(RISE * medians[best], RISE_SCATTER * scatter(values))
    if late - medians[best] < clear or change(since, RISE, RISE_SCATTER) <= 0:
        return None
    at = int(iterations[min(best + 1, len(values) - 1)])
    points = thinned(train, TRAIN_POINTS)
    if points.shape[1] >= MIN_POINTS and change(_window(points), RISE, RISE_SCATTER) > 0:
        return Verdict(
            "diverging",
            f"Training and validation loss both rise since about iteration {at}. Stop, and resume from an earlier "
            "checkpoint with a lower learning rate (optimizer.lr).",
        )
    return Verdict(
        "overfitting",
        f"The validation loss has risen from {medians[best]:.4g} at iteration {at} to {late:.4g}, while the training "
        f"loss has not. Stop and use the checkpoint of iteration {at}; more cases, more augmentation or a smaller "
        "network help.",
    )


def _course(train: np.ndarray, validation: np.ndarray) -> Verdict:
    """Falling or not, by the validation loss once there is enough of it; until then the training loss may say so."""
    early = Verdict("early", "It is too early to say how the training goes. Let it run.")
    enough = validation.shape[1] >= MIN_POINTS
    if not enough and train.shape[1] < MIN_LINES:
        return early
    name, losses = ("validation", validation) if enough else ("training", thinned(train, TRAIN_POINTS))
    window = _window(losses)
    level = np.median(window[1, -3:])
    if change(window, FALL, FALL_SCATTER) < 0:
        return Verdict("improving", f"The {name} loss is falling, now to about {level:.4g}. Let it run.")
    # the smallest fall that would be seen, as a share of the level
    if not enough and (validation.size or FALL_SCATTER * _error(window[1]) > FINE * max(abs(level), 1e-30)):
        return early
    return Verdict(
        "flat",
        f"The {name} loss has stayed at about {level:.4g} since iteration {window[0, 0]:.0f}. Lower the "
        "learning rate, or stop here: more iterations alone will change little.",
    )


def _window(losses: np.ndarray) -> np.ndarray:
    low, high = WINDOW
    return losses[:, -min(high, max(low, losses.shape[1] // 3)) :]


def thinned(losses: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` points: means over neighboring ones, since the loss of single batches tells little."""
    have = losses.shape[1]
    if have <= count:
        return losses
    edges = np.array([round(i * have / count) for i in range(count + 1)])
    means = np.add.reduceat(losses[1], edges[:-1]) / np.diff(edges)
    return np.stack([losses[0, edges[1:] - 1], means])


def change(losses: np.ndarray, relative: float, errors: float) -> int:
    """-1, 0 or 1: whether the newer half lies below or above the older one, by more than ``relative`` of its level and
    than ``errors`` standard errors of the difference.
    """
    half = losses.shape[1] // 2
    older, newer = np.median(losses[1, :half]), np.median(losses[1, -half:])
    if abs(newer - older) <= max(relative * abs(older), errors * _error(losses[1])):
        return 0
    return 1 if newer > older else -1


def _error(values: np.ndarray) -> float:
    """Standard error of the difference between the medians of the two halves."""
    return 1.2533 * scatter(values) * math.sqrt(2 / (len(values) // 2))


def scatter(values: Sequence[float] | np.ndarray) -> float:
    """Standard deviation of the noise of a series, whatever its slope: from its second differences, robustly."""
    seconds = np.abs(np.diff(values, 2))
    return float(np.median(seconds)) / (0.6745 * math.sqrt(6)) if len(seconds) else 0.0


def _medians(values: np.ndarray, width: int) -> np.ndarray:
    """Medians of ``width`` neighbors: one lucky value is no best."""
    return np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
