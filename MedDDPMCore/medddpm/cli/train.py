"""``medddpm train``."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..errors import InputError
from ..training.config import TrainConfig
from ..training.presets import PRESETS
from .console import ConsoleReporter, say
from .options import given, with_options
from .root import app

TargetArgument = Annotated[
    Path | None,
    typer.Argument(
        help="A TOML file that describes the training, or the folder of a training to resume.",
        metavar="[CONFIG|RUN]",
        show_default=False,
    ),
]
DatasetOption = Annotated[
    Path | None, typer.Option(help="Folder of the prepared dataset (see 'medddpm prepare').", show_default=False)
]
PresetOption = Annotated[
    str | None,
    typer.Option(help=f"Instead of a file: {', '.join(PRESETS)}.", show_default=False),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the training. Default: as the file says, or in 'runs'.", show_default=False),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Return at once; the training runs in the background.")]


TOO_LONG = 14 * 86400.0  # seconds


@app.command("train")
@with_options(TrainConfig, defaults=False)
def train_command(
    target: TargetArgument = None,
    dataset: DatasetOption = None,
    preset: PresetOption = None,
    out: OutOption = None,
    detach: DetachOption = False,
    **options: Any,
) -> None:
    """Train a model on a prepared dataset.

    The same command again, or the command with the folder of the training, goes on where it was stopped. The model in
    outputs/model of that folder is usable at any time after the first checkpoint.
    """
    from ..training.launch import launched_rank
    from ..training.resume import open_run

    first = launched_rank() == 0  # of a group of processes, it alone says where the training is
    with ConsoleReporter(None if first else Console(quiet=True)) as console:
        run = open_run(target, dataset, preset, out, given(options), partial(_announce, console))
        _require_packages(run.config())
        code = None if detach else _trained(run, console)
    _detach(run) if code is None else _conclude(run, code)


def _require_packages(config: TrainConfig) -> None:
    if not config.on and importlib.util.find_spec("lightning_fabric") is None:
        raise InputError('Training needs further packages. Install them with: pip install "medddpm[train]"')


def _announce(console: ConsoleReporter, config: TrainConfig) -> None:
    """Say what a new training will take, before anything of it is made. Raises InputError where it cannot be done."""
    _require_packages(config)
    if config.on:
        return
    console.stage("probe", "Estimating time and memory")
    from ..training.estimate import estimate_training  # which takes a while: torch

    found = estimate_training(config)
    console.check_cancelled()
    console.stage("estimate", " ".join([found.sentence(), found.advice]).strip())
    if found.seconds is not None and found.seconds > TOO_LONG:
        console.warning(
            f"That is too long on {config.device}: train on a GPU, from an existing model (--from), with a smaller "
            "preset or fewer iterations (--iterations)."
        )


def _detach(run: Any) -> None:
    from ..training.launch import start_and_wait

    pid = start_and_wait(run)
    say(f"The training runs in process {pid}. Watch it with: medddpm runs {run.path}")


def _trained(run: Any, console: ConsoleReporter) -> int:
    """Train here, with progress on ``console``; the exit code of the run."""
    from ..jobs.stop import Stop
    from ..training.runner import SIGNALS, run_training

    stop = Stop()
    run.withdraw_requests()
    console.stage("train", "Training")
    with stop.on_signals(SIGNALS):
        return run_training(run, stop, console=console)


def _conclude(run: Any, code: int) -> None:
    """Say how the training ended, and end the program with its exit code."""
    from ..training.launch import launched_rank

    if launched_rank() != 0:  # the first process of the group tells how it ended
        raise typer.Exit(code)
    events = run.recent_events()
    message = events[-1].message if events else ""
    if code == 0:
        say(f"{message} The model is in {run.model}.")
        return
    say(f"{'' if code in (3, 75) else 'Error: '}{message}", error=True)
    raise typer.Exit(code)
