"""``medddpm train``."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .app import app
from .console import ConsoleReporter


@app.command("train")
def train_command(
    config: Annotated[Path, typer.Argument(help="The TOML file that describes the training.", metavar="CONFIG")],
) -> None:
    """Train a model on a prepared dataset; run again to go on where it stopped."""
    if importlib.util.find_spec("lightning_fabric") is None:
        raise InputError('Training needs further packages. Install them with: pip install "medddpm[train]"')
    from ..training.config import TrainConfig
    from ..training.trainer import Trainer

    settings = TrainConfig.from_toml(config)
    with ConsoleReporter() as reporter:
        signal.signal(signal.SIGINT, lambda number, frame: reporter.cancel())
        folder = Trainer(settings, reporter).run()
    typer.echo(f"The model is in {folder}.")
