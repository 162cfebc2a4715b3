"""What a reader study found: how well each reader told synthetic from real images, and how far readers agree. No torch.

A synthetic image is what is looked for: sensitivity is the share of synthetic images that were recognized, specificity
that of real ones that were taken for real. Intervals are exact (Clopper and Pearson 1934), the comparison with chance
is the exact two-sided binomial test of accuracy against one half. d' is from signal detection theory, with half a case
added to each count, so that it exists for perfect readers as well (Hautus 1995). Agreement is Cohen's kappa (1960).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import NormalDist

from ..errors import InputError
from ..files import csv_text, write_text
from ..page import Cell, markdown_table, number, render
from ..version import __version__
from .reading import READINGS, REAL, SYNTHETIC, Plan, Reading, read_answers, read_key, read_plan

FIGURES_CSV, REPORT, MARKDOWN = "readers.csv", "readers.html", "readers.md"
ALL = "all readers"
ALPHA = 0.05


@dataclass(frozen=True)
class Share:
    """``hits`` of ``cases``, with the exact 95 % interval."""

    hits: int
    cases: int

    @property
    def value(self) -> float:
        """The share; NaN of no case."""
        return self.hits / self.cases if self.cases else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's."""
        low = 0.0 if self.hits == 0 else _solve(lambda p: _at_least(self.hits, self.cases, p) - ALPHA / 2)
        high = 1.0 if self.hits == self.cases else _solve(lambda p: ALPHA / 2 - _at_most(self.hits, self.cases, p))
        return low, high


@dataclass(frozen=True)
class Figures:
    """Figures of a reader (or of ``ALL``, whose answers are pooled) in a part of the study."""

    part: str
    reader: str
    accuracy: Share
    sensitivity: Share
    specificity: Share
    d_prime: float
    p_chance: float
    confidence: float
    seconds: float


@dataclass(frozen=True)
class Agreement:
    """Two readers' agreement on the ``cases`` that both have read."""

    part: str
    readers: tuple[str, str]
    cases: int
    agreement: float
    kappa: float


@dataclass(frozen=True)
class Findings:
    """The whole study; ``unfinished``: how many images a reader has not read yet, of those who are not done."""

    plan: Plan
    figures: tuple[Figures, ...]
    agreements: tuple[Agreement, ...]
    unfinished: Mapping[str, int]


def analyze(folder: Path) -> Findings:
    """Read all answers of a study and compute its figures, which are also written beside the plan.

    Raises InputError where nobody has answered yet, or plan, key and answers do not belong together.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    key = read_key(folder, plan)
    files = sorted((folder / READINGS).glob("*.csv")) if (folder / READINGS).is_dir() else []
    answers = {file.stem: tuple(read_answers(file, plan)) for file in files}
    answers = {reader: readings for reader, readings in answers.items() if readings}
    if not answers:
        raise InputError(f"Nobody has read the images of {folder} yet. Read them in MedDDPM Synth, 'Reader study'.")
    figures, agreements = [], []
    for part in plan.parts:
        read = {name: own for name, all_ in answers.items() if (own := [r for r in all_ if r.part == part])}
        figures += [figures_of(part, reader, own, key) for reader, own in read.items()]
        if len(read) > 1:
            figures.append(figures_of(part, ALL, [r for own in read.values() for r in own], key))
        agreements += [agreement_of(part, (a, b), read[a], read[b]) for a, b in combinations(read, 2)]
    missing = {reader: plan.count * len(plan.parts) - len(done) for reader, done in answers.items()}
    found = Findings(plan, tuple(figures), tuple(agreements), {name: left for name, left in missing.items() if left})
    _write(folder, found)
    return found


def figures_of(part: str, reader: str, readings: Sequence[Reading], key: Mapping[int, str]) -> Figures:
    """Figures of some answers; ``key`` says what each image is."""
    right = [reading.answer == key[reading.number] for reading in readings]
    true, false = (
        [good for good, reading in zip(right, readings, strict=True) if key[reading.number] == kind]
        for kind in (SYNTHETIC, REAL)
    )
    hits, alarms = sum(true), len(false) - sum(false)
    quantile = NormalDist().inv_cdf
    return Figures(
        part,
        reader,
        Share(sum(right), len(right)),
        Share(hits, len(true)),
        Share(sum(false), len(false)),
        quantile((hits + 0.5) / (len(true) + 1)) - quantile((alarms + 0.5) / (len(false) + 1)),
        p_of_chance(sum(right), len(right)),
        sum(reading.confidence for reading in readings) / len(readings),
        sum(reading.seconds for reading in readings) / len(readings),
    )


def agreement_of(part: str, readers: tuple[str, str], one: Sequence[Reading], other: Sequence[Reading]) -> Agreement:
    """Cohen's kappa of two readers; NaN where both gave a single answer throughout, or read no image in common."""
    theirs = {reading.number: reading.answer for reading in other}
    pairs = [(r.answer, theirs[r.number]) for r in one if r.number in theirs]
    if not pairs:
        return Agreement(part, readers, 0, math.nan, math.nan)
    same = sum(a == b for a, b in pairs) / len(pairs)
    calls = [sum(answers[i] == SYNTHETIC for answers in pairs) / len(pairs) for i in range(2)]
    chance = calls[0] * calls[1] + (1 - calls[0]) * (1 - calls[1])
    return Agreement(part, readers, len(pairs), same, (same - chance) / (1 - chance) if chance < 1 else math.nan)


def p_of_chance(hits: int, cases: int) -> float:
    """Probability that guessing is right or wrong at least as often as that: exact, two-sided."""
    return min(1.0, 2 * min(_at_least(hits, cases, 0.5), _at_most(hits, cases, 0.5)))


def _at_most(hits: int, cases: int, p: float) -> float:
    whole, yes, no = math.lgamma(cases + 1), math.log(p), math.log(1 - p)
    ways = (whole - math.lgamma(k + 1) - math.lgamma(cases - k + 1) for k in range(hits + 1))
    return math.fsum(math.exp(way + k * yes + (cases - k) * no) for k, way in enumerate(ways))


def _at_least(hits: int, cases: int, p: float) -> float:
    return _at_most(cases - hits, cases, 1 - p)


def _solve(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


HEADINGS = (
    "Part",
    "Reader",
    "Images",
    "Accuracy",
    "Sensitivity",
    "Specificity",
    "d'",
    "p (chance)",
    "Confidence",
    "Seconds",
)


def _write(folder: Path, found: Findings) -> None:
    rows = [_row(one) for one in found.figures]
    columns = ["part", "reader", "images"]
    for name in ("accuracy", "sensitivity", "specificity"):
        columns += [name, f"{name}_low", f"{name}_high"]
    columns += ["d_prime", "p_chance", "confidence", "seconds"]
    table: list[list[str | float | None]] = []
    for one in found.figures:
        shares = [v for s in (one.accuracy, one.sensitivity, one.specificity) for v in (s.value, *s.interval)]
        last = (one.d_prime, one.p_chance, one.confidence, one.seconds)
        table.append([one.part, one.reader, one.accuracy.cases, *shares, *last])
    write_text(folder / FIGURES_CSV, csv_text([columns, *table]))
    agreed = [
        [a.part, " and ".join(a.readers), number(a.cases, 0), *_numbers(a.agreement, a.kappa)] for a in found.agreements
    ]
    write_text(
        folder / REPORT,
        render(
            "readers.html.jinja",
            title="Reader study",
            found=found,
            headings=HEADINGS,
            rows=rows,
            agreed=agreed,
            version=__version__,
            files=(FIGURES_CSV, MARKDOWN),
        ),
    )
    write_text(folder / MARKDOWN, markdown_table(HEADINGS, rows) + "\n")


def _row(one: Figures) -> list[str | Cell]:
    shares = [_percent(share) for share in (one.accuracy, one.sensitivity, one.specificity)]
    chance = "< 0.001" if one.p_chance < 0.001 else f"{one.p_chance:.3f}"
    last = _numbers(one.confidence, one.seconds, digits=1)
    count = number(one.accuracy.cases, 0)
    return [one.part, one.reader, count, *shares, number(one.d_prime, 2), Cell(chance, "number"), *last]


def _percent(share: Share) -> Cell:
    if not share.cases:
        return number(None)
    low, high = share.interval
    return Cell(f"{share.value:.0%} ({low:.0%} to {high:.0%})", "number")


def _numbers(*values: float, digits: int = 2) -> list[Cell]:
    return [number(value, digits) for value in values]
