"""``medddpm runs``: trainings with their state, and requests to pause or stop one. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..jobs.folder import State
from ..progress import duration
from ..training.run import RunFolder, RunSummary, find_runs
from .console import say, show_table
from .root import app

COLUMNS = ("Training", "State", "Iterations", "Loss", "Validation", "Time left", "Verdict")


@app.command("runs")
def runs_command(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A training, or a folder with trainings in it. Default: 'runs'.", show_default=False),
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Ask this training to pause at its next iteration.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Ask this training to stop at its next iteration.")] = False,
) -> None:
    """Show trainings with their state, progress and verdict.

    'medddpm train RUN' goes on with one that is paused, stopped, interrupted or failed, '--iterations' with one that is
    done.
    """
    place = folder or Path("runs")
    if pause or stop:
        _ask(RunFolder.open(place), pause)
        return
    summaries = [run.summary() for run in find_runs(place)]
    if not summaries:
        say(f"There is no training in {place}.")
        return
    if len(summaries) == 1 and summaries[0].path == place:
        _details(summaries[0])
        return
    show_table(COLUMNS, [row(summary, place) for summary in summaries])


def row(summary: RunSummary, place: Path) -> tuple[str, ...]:
    """The cells of a training for COLUMNS; its name is relative to ``place``."""
    return (
        summary.path.relative_to(place).as_posix(),
        summary.state.value,
        _iterations(summary),
        _figure(summary.loss),
        _figure(summary.validation),
        "" if summary.seconds_left is None else duration(summary.seconds_left),
        _how(summary),
    )


def _details(summary: RunSummary) -> None:
    cells = dict(zip(COLUMNS, ("", *row(summary, summary.path)[1:]), strict=True))
    rows = {
        **cells,
        "Training": f"{summary.name}, in {summary.path}",
        "Dataset": summary.dataset,
        "Model": "none yet" if summary.model is None else str(summary.model),
    }
    show_table(("", ""), [(name, value) for name, value in rows.items() if value])


def _ask(run: RunFolder, pause: bool) -> None:
    if run.state() is not State.RUNNING:
        raise InputError(f"The training {run.path} is not running; it is {run.state().value}.")
    if pause:
        run.request_pause()
    else:
        run.request_cancel()
    say(f"The training will {'pause' if pause else 'stop'} after the iteration it is at, with a checkpoint.")


def _iterations(summary: RunSummary) -> str:
    if not summary.total:
        return ""
    return f"{summary.iteration} of {summary.total} ({100 * summary.iteration / summary.total:.0f} %)"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _how(summary: RunSummary) -> str:
    """The most telling sentence: why it cannot be read or ended, else its verdict."""
    ended = summary.state in (State.FAILED, State.CANCELLED) and summary.message
    return summary.problem or (summary.message if ended else summary.sentence) or ""
