"""Where a training run stands, for a list of runs and a panel; read from its files. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..jobs.events import FINAL, Event
from ..jobs.folder import State
from .metrics import RESUMED, MetricsLog, number


@dataclass(frozen=True)
class RunSummary:
    """A training run at a moment.

    ``iteration`` of ``total`` are finished (0 where that is not known); ``loss`` and ``validation`` are the newest
    figures; ``verdict`` is improving, flat, diverging, overfitting, memorizing or early,
    ``sentence`` says the same in words. ``seconds_left`` counts from now and is there while it runs only.
    ``message`` is the sentence of the last end; ``model`` the model folder once there is one; ``updated`` (seconds
    since 1970) the time of the last sign of life; ``problem`` says why ``job.json`` cannot be used.
    """

    path: Path
    state: State
    name: str
    dataset: str
    iteration: int
    total: int
    loss: float | None = None
    validation: float | None = None
    verdict: str | None = None
    sentence: str | None = None
    seconds_left: float | None = None
    message: str | None = None
    model: Path | None = None
    updated: float | None = None
    problem: str | None = None


def summarize(
    path: Path,
    state: State,
    request: Mapping[str, Any],
    problem: str | None,
    events: Sequence[Event],
    metrics: MetricsLog,
) -> RunSummary:
    """The summary of the run in ``path`` from its request, its newest events and its metrics. Never raises."""
    latest = metrics.latest(("train", "validation", "verdict"))
    end = _newest(events, (*FINAL, "queued", "started"))
    verdict = latest.get("verdict", {})
    name, dataset, kind, sentence = (
        value if isinstance(value, str) else None
        for value in (request.get("name"), request.get("dataset"), verdict.get("verdict"), verdict.get("sentence"))
    )
    total = request.get("iterations")
    model = path / "outputs" / "model"
    return RunSummary(
        path=path,
        state=state,
        name=name or path.name,
        dataset=dataset or "",
        iteration=_iteration(_newest(events, ("step",)), metrics),
        total=total if type(total) is int else 0,
        loss=number(latest.get("train"), "loss"),
        validation=number(latest.get("validation"), "loss"),
        verdict=kind,
        sentence=sentence,
        seconds_left=_seconds_left(state, _newest(events, ("step", "queued", "started"))),
        message=end.message if end is not None else None,
        model=model if (model / "config.json").is_file() else None,
        updated=events[-1].time if events else None,
        problem=problem,
    )


def _newest(events: Sequence[Event], kinds: tuple[str, ...]) -> Event | None:
    return next((event for event in reversed(events) if event.event in kinds), None)


def _iteration(step: Event | None, metrics: MetricsLog) -> int:
    """What the newest of all figures says: after a kill, the resumed run begins below the last one seen."""
    known: list[tuple[float, int]] = [(step.time, step.step)] if step is not None and step.step is not None else []
    newest = next((metric for metric in metrics.newest_first() if metric["kind"] in ("train", RESUMED)), None)
    known += [(number(newest, "time") or 0.0, newest["iteration"])] if newest is not None else []
    return max(0, max(known)[1]) if known else 0


def _seconds_left(state: State, newest: Event | None) -> float | None:
    """From ``newest`` of steps and starts: what was told before a pause says nothing about the time after it."""
    if state is not State.RUNNING or newest is None or newest.seconds_left is None:
        return None
    return max(0.0, newest.seconds_left - max(0.0, time.time() - newest.time))
