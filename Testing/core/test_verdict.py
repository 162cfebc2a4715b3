"""The verdict on a training: plain courses, noisy ones, and what must hold for any."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.training.monitor.verdict import KINDS, change, judge, scatter, series, thinned

Metrics = list[dict[str, Any]]
Course = Callable[[int], float]
ITERATIONS, LOG_EVERY, VALIDATE_EVERY = 40_000, 100, 1000


def lines(kind: str, course: Course, every: int, noise: float = 0.0, seed: int = 0, end: int = ITERATIONS) -> Metrics:
    """Losses that follow ``course`` with Gaussian noise, relative to the loss."""
    draw = random.Random(f"{kind}{seed}")
    steps = range(every, end + 1, every)
    return [{"kind": kind, "iteration": i, "loss": course(i) * (1 + draw.gauss(0, noise))} for i in steps]


def train(course: Course, noise: float = 0.05, seed: int = 0, end: int = ITERATIONS) -> Metrics:
    return lines("train", course, LOG_EVERY, noise, seed, end)


def validation(course: Course, noise: float = 0.002, seed: int = 0, end: int = ITERATIONS) -> Metrics:
    return lines("validation", course, VALIDATE_EVERY, noise, seed, end)


def falling(iteration: int) -> float:
    return 0.05 + 0.1 * math.exp(-iteration / 15_000)


def settled(iteration: int) -> float:
    return 0.05 + 0.1 * math.exp(-iteration / 1500)


def overfitting(iteration: int) -> float:
    return settled(iteration) + 0.03 * max(0, iteration - 15_000) / 25_000


def exploding(iteration: int) -> float:
    return settled(iteration) * (1 if iteration < 35_000 else 4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("train_course", "validation_course", "expected"),
    [
        (falling, falling, "improving"),
        (settled, settled, "flat"),
        (falling, overfitting, "overfitting"),
        (settled, overfitting, "overfitting"),
        (exploding, exploding, "diverging"),
        (overfitting, overfitting, "diverging"),
    ],
)
def test_noisy_courses(train_course: Course, validation_course: Course, expected: str, seed: int) -> None:
    verdict = judge(train(train_course, seed=seed) + validation(validation_course, seed=seed))
    assert verdict.kind == expected, verdict.sentence
    assert verdict.sentence.endswith(".")


@pytest.mark.parametrize(("course", "expected"), [(falling, "improving"), (settled, "flat"), (exploding, "diverging")])
def test_without_validation_the_training_loss_tells(course: Course, expected: str) -> None:
    assert judge(train(course, noise=0.02)).kind == expected


def test_too_little_or_too_noisy_is_early() -> None:
    assert judge([]).kind == "early"
    assert judge(train(falling, end=2000) + validation(falling, end=2000)).kind == "early"
    assert judge(train(settled, noise=0.5)).kind == "early"


def test_a_provisional_plateau_waits_for_the_validation_loss() -> None:
    few = validation(settled, end=3000)
    assert judge(train(settled, noise=0.01) + few).kind == "early"


@pytest.mark.parametrize("kind", ["train", "validation"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_loss_that_is_no_number_is_diverging(kind: str, value: float | None) -> None:
    last: dict[str, Any] = {"kind": kind, "iteration": ITERATIONS + 100, "loss": value}
    verdict = judge([*train(falling), *validation(falling), last])
    assert verdict.kind == "diverging"
    assert "finite number" in verdict.sentence and kind in verdict.sentence


def test_a_burst_is_seen_within_five_lines() -> None:
    history = train(settled, noise=0.02)
    assert judge(history).kind == "flat"
    burst = [{"kind": "train", "iteration": ITERATIONS + 100 * i, "loss": 0.4} for i in range(1, 6)]
    assert judge(history + burst).kind == "diverging"
    assert judge(history + burst[:1]).kind == "flat"


def sampled(case: str, copy: bool, iteration: int = ITERATIONS) -> dict[str, Any]:
    near = {"case": "train-7", "similarity": 0.93, "others": 0.2}
    return {"kind": "quality", "iteration": iteration, "case": case, "copy": copy, "nearest_training": near}


def test_copies_among_the_newest_samples_are_memorizing() -> None:
    history = train(falling) + validation(falling)
    verdict = judge([*history, sampled("a", True), sampled("b", False)])
    assert verdict.kind == "memorizing"
    assert "1 of 2 samples" in verdict.sentence and "train-7" in verdict.sentence
    assert judge([*history, sampled("a", True, 5000), sampled("a", False)]).kind == "improving"
    assert judge([*history, sampled("a", True), sampled("b", False), sampled("c", False)]).kind == "improving"


def test_lines_of_a_resumed_run_count_once() -> None:
    once = series(train(falling), "train")
    again = series(train(settled, end=20_000) + train(falling), "train")
    assert (again == once).all()


def test_the_window_of_a_long_run_forgets_its_beginning() -> None:
    """A run that fell for long and then stands still is flat, however far it has come."""

    def course(iteration: int) -> float:
        return 0.05 + 0.4 * max(0, 20_000 - iteration) / 20_000

    assert judge(train(course) + validation(course)).kind == "flat"


def validated(*values: float) -> Metrics:
    return [{"kind": "validation", "iteration": i, "loss": value} for i, value in enumerate(values)]


def test_a_rise_is_no_overfitting_before_it_has_lasted() -> None:
    rise = (1, 1.25, 1.5, 1.75, 2, 2.25)
    assert judge(validated(*[2.0] * 20, *rise[:4])).kind != "overfitting"
    assert judge(validated(*[2.0] * 20, *rise)).kind == "overfitting"


def test_a_rise_that_has_gone_again_is_no_overfitting() -> None:
    hump = [1.0] * 6 + [1.5] * 4
    assert judge(validated(*hump, 1.5, 1.5, 1.5)).kind == "overfitting"
    assert judge(validated(*hump, 1.0, 1.0, 1.0)).kind != "overfitting"


def test_a_training_loss_of_a_few_lines_says_nothing() -> None:
    assert judge(train(falling, noise=0, end=4700)).kind == "early"
    assert judge(train(falling, noise=0, end=4800)).kind == "improving"


losses = st.floats(0, 1e6) | st.sampled_from([math.nan, math.inf, -1.0, 0.0])
anything = st.fixed_dictionaries(
    {"kind": st.sampled_from(["train", "validation", "quality", "other"]), "iteration": st.integers(0, 500)},
    optional={"loss": losses | st.none() | st.text(max_size=3), "copy": st.booleans(), "nearest_training": st.none()},
)


@settings(max_examples=60, deadline=None)
@given(st.lists(anything, max_size=80))
def test_any_history_gives_a_verdict(history: Metrics) -> None:
    assert judge(history).kind in KINDS


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 100),
    course=st.sampled_from([falling, settled, overfitting, exploding]),
)
def test_the_unit_of_the_loss_does_not_matter(scale: float, seed: int, course: Course) -> None:
    history = train(falling, seed=seed) + validation(course, seed=seed)
    scaled = [{**line, "loss": line["loss"] * scale} for line in history]
    assert judge(scaled).kind == judge(history).kind


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0.001, 0.02))
def test_a_plateau_is_never_called_diverging_or_overfitting(seed: int, noise: float) -> None:
    verdict = judge(train(settled, seed=seed) + validation(settled, noise=noise, seed=seed))
    assert verdict.kind in ("flat", "improving")


@settings(max_examples=25, deadline=None)
@given(start=st.floats(0.01, 10), rate=st.floats(0.02, 0.3), count=st.integers(8, 100))
def test_a_steady_fall_is_improving(start: float, rate: float, count: int) -> None:
    history = [{"kind": "validation", "iteration": i, "loss": start * math.exp(-rate * i)} for i in range(count)]
    assert judge(history).kind == "improving"


def test_the_parts() -> None:
    line = series([{"kind": "train", "iteration": i, "loss": 2.0 - 0.1 * i} for i in range(10)], "train")
    assert scatter(line[1]) == pytest.approx(0, abs=1e-12)
    assert (change(line, 0.01, 3), change(line, 0.9, 3)) == (-1, 0)
    short = thinned(line, 5)
    assert short[0].tolist() == [1, 3, 5, 7, 9]
    assert short[1] == pytest.approx((1.95, 1.75, 1.55, 1.35, 1.15))
    noisy = random.Random(0)
    assert scatter([noisy.gauss(5, 0.3) for _ in range(400)]) == pytest.approx(0.3, rel=0.15)
