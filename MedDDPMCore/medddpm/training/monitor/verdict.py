"""A plain verdict on how a training goes, from its metrics alone.

Overfitting (the validation loss rises) and memorization (samples repeat training images) are two of them.

All figures are noisy. Whether they went up or down is told by comparing the median of the newer half of a window with
that of the older half, against the scatter that the series itself shows around straight lines; small changes count as
none. The verdict therefore does not depend on the unit of the loss, and changes late rather than back and forth.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Series:
    """Values over iterations, ascending; a value that was not finite is NaN."""

    iterations: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def finite(self) -> Series:
        """Without the values that are not finite."""
        kept = [(i, v) for i, v in zip(self.iterations, self.values, strict=True) if math.isfinite(v)]
        return Series(tuple(i for i, _ in kept), tuple(v for _, v in kept))


def judge(history: Sequence[Metric]) -> Verdict:
    """The verdict on the lines of ``metrics.jsonl`` (kinds "train", "validation" and "quality"), oldest first.

    Of an iteration that was computed twice (after a resume) the newer line counts. The validation loss decides; where
    there is none (or not enough yet) the training loss does.
    """
    train, validation = series(history, "train"), series(history, "validation")
    return (
        _not_finite(train, validation)
        or _lost(train)
        or _copies(history)
        or _overfitted(train.finite(), validation.finite())
        or _course(train.finite(), validation.finite())
    )


def series(history: Sequence[Metric], kind: str) -> Series:
    """The losses of the lines of a kind; null and anything that is no number become NaN."""
    found: dict[int, float] = {}
    for line in history:
        if line.get("kind") == kind and isinstance(line.get("iteration"), int):
            value = line.get("loss")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            found[line["iteration"]] = float(value) if number else math.nan  # type: ignore[arg-type]
    order = sorted(found)
    return Series(tuple(order), tuple(found[i] for i in order))


def _not_finite(train: Series, validation: Series) -> Verdict | None:
    for name, losses in (("training", train), ("validation", validation)):
        if len(losses) and not math.isfinite(losses.values[-1]):
            return Verdict(
                "diverging",
                f"The {name} loss at iteration {losses.iterations[-1]} is no longer a finite number. Stop, and resume "
                "from an earlier checkpoint with a lower learning rate (optimizer.lr) or a smaller "
                "optimizer.clip_norm.",
            )
    return None


def _lost(train: Series) -> Verdict | None:
    """The training loss ``BURST`` times the best level so far, and far outside of the scatter: no noise does that."""
    losses = train.finite()
    for values in (losses.values, thinned(losses, TRAIN_POINTS).values):
        past, latest = values[:-LATEST], values[-LATEST:]
        if len(past) < MIN_POINTS:
            continue
        best, now = min(_medians(past, LATEST)), statistics.median(latest)
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


def _overfitted(train: Series, validation: Series) -> Verdict | None:
    """The validation loss has left its best for good, while the training loss has not."""
    if len(validation) < MIN_POINTS:
        return None
    medians = _medians(validation.values, 3)
    best = min(range(len(medians)), key=medians.__getitem__)
    since = Series(validation.iterations[best:], validation.values[best:])
    if len(since) < MIN_POINTS:
        return None
    late = statistics.median(since.values[-3:])
    clear = max(RISE * medians[best], RISE_SCATTER * scatter(validation.values))
    if late - medians[best] < clear or change(since, RISE, RISE_SCATTER) <= 0:
        return None
    at = validation.iterations[min(best + 1, len(validation) - 1)]
    points = thinned(train, TRAIN_POINTS)
    if len(points) >= MIN_POINTS and change(_window(points), RISE, RISE_SCATTER) > 0:
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


def _course(train: Series, validation: Series) -> Verdict:
    """Falling or not, by the validation loss once there is enough of it; until then the training loss may say so."""
    enough = len(validation) >= MIN_POINTS
    name, window = "validation", _window(validation)
    if not enough:
        name, window = "training", _window(thinned(train, TRAIN_POINTS))
    if not enough and len(train) < MIN_LINES:
        return Verdict("early", "It is too early to say how the training goes. Let it run.")
    level = statistics.median(window.values[-3:])
    if change(window, FALL, FALL_SCATTER) < 0:
        return Verdict("improving", f"The {name} loss is falling, now to about {level:.4g}. Let it run.")
    # the smallest fall that would be seen, as a share of the level
    if not enough and (len(validation) or FALL_SCATTER * _error(window) > FINE * max(abs(level), 1e-30)):
        return Verdict("early", "It is too early to say how the training goes. Let it run.")
    return Verdict(
        "flat",
        f"The {name} loss has stayed at about {level:.4g} since iteration {window.iterations[0]}. Lower the "
        "learning rate, or stop here: more iterations alone will change little.",
    )


def _window(losses: Series) -> Series:
    low, high = WINDOW
    newest = slice(-min(high, max(low, len(losses) // 3)), None)
    return Series(losses.iterations[newest], losses.values[newest])


def thinned(losses: Series, count: int) -> Series:
    """At most ``count`` points: means over neighboring ones, since the loss of single batches tells little."""
    if len(losses) <= count:
        return losses
    edges = [round(i * len(losses) / count) for i in range(count + 1)]
    parts = [slice(low, high) for low, high in itertools.pairwise(edges)]
    means = tuple(statistics.fmean(losses.values[part]) for part in parts)
    return Series(tuple(losses.iterations[part.stop - 1] for part in parts), means)


def change(losses: Series, relative: float, errors: float) -> int:
    """-1, 0 or 1: whether the newer half lies below or above the older one, by more than ``relative`` of its level and
    than ``errors`` standard errors of the difference.
    """
    half = len(losses) // 2
    older, newer = statistics.median(losses.values[:half]), statistics.median(losses.values[-half:])
    if abs(newer - older) <= max(relative * abs(older), errors * _error(losses)):
        return 0
    return 1 if newer > older else -1


def _error(losses: Series) -> float:
    """Standard error of the difference between the medians of the two halves."""
    half = len(losses) // 2
    return 1.2533 * scatter(losses.values) * math.sqrt(2 / half)


def scatter(values: Sequence[float]) -> float:
    """Standard deviation of the noise of a series, whatever its slope: from its second differences, robustly."""
    seconds = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return statistics.median(seconds) / (0.6745 * math.sqrt(6)) if seconds else 0.0


def _medians(values: Sequence[float], width: int) -> list[float]:
    """Medians of ``width`` neighbors: one lucky value is no best."""
    return [statistics.median(values[i : i + width]) for i in range(len(values) - width + 1)]
