"""Runs of a training of numbers, for the tests of run folders."""

from __future__ import annotations

from pathlib import Path

from medddpm.config import NetworkConfig
from medddpm.progress import Reporter
from medddpm.training.config import TrainConfig
from medddpm.training.run import RunFolder


def config(**changes: object) -> TrainConfig:
    """A small training of ten iterations, of a dataset that need not be there."""
    network = NetworkConfig(1, 2, base_channels=8, multipliers=(1, 2), groups=4)
    return TrainConfig("data", network, **{"iterations": 10, "name": "tiny", **changes})


def train(steps: int = 10) -> object:
    """A training of numbers: counts from where its metrics end, and looks for requests as the trainer does."""

    def training(run: RunFolder, reporter: Reporter) -> None:
        for done in range(run.summary().iteration + 1, min(steps, run.config().iterations) + 1):
            reporter.check_cancelled()
            run.metrics.append("train", done, loss=1 / done, lr=1e-3, seconds_per_iteration=0.1)
            reporter.step(done, run.config().iterations)

    return training


def made_run(place: Path) -> RunFolder:
    """A run of ``config`` that has not begun, below ``place``."""
    folder = RunFolder(place / "run")
    folder.create(config())
    return folder
