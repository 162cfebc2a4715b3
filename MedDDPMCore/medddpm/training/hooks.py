"""What is called after every iteration of a training, and what it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightning_fabric import Fabric

from ..config import ModelConfig
from ..progress import Reporter
from ..sampling.schedule import Schedule
from .config import TrainConfig
from .dataset import PreparedDataset
from .metrics import append_metric
from .monitor.monitor import Monitor
from .objective import Objective
from .state import TrainingState


@dataclass(frozen=True)
class Context:
    """All of a run that hooks may want to look at.

    ``folder`` is the run folder, ``model`` the configuration of the model that comes of it, ``dataset`` the training
    cases. ``state`` changes with every iteration; of it a hook sets ``validation`` at most.
    """

    config: TrainConfig
    folder: Path
    reporter: Reporter
    fabric: Fabric
    model: ModelConfig
    schedule: Schedule
    objective: Objective
    dataset: PreparedDataset
    state: TrainingState


@dataclass(frozen=True)
class Iteration:
    """A finished iteration: number ``number`` of ``total`` (counted from 1), its loss, learning rate and seconds.

    ``loss`` is the mean over the batches of all processes.
    """

    number: int
    total: int
    loss: float
    lr: float
    seconds: float

    @property
    def last(self) -> bool:
        """Whether the run ends here."""
        return self.number >= self.total

    def due(self, every: int) -> bool:
        """Whether something that happens ``every`` so many iterations (0: never) and at the end happens now."""
        return every > 0 and (self.number % every == 0 or self.last)


class Hook(Protocol):
    """Something that follows a run. An exception that it raises ends the training."""

    def after_iteration(self, done: Iteration) -> None:
        """Called in every process after every iteration, before a checkpoint is written."""

    def close(self) -> None:
        """Called once at the end of the run, however it ends."""


class TrainLog:
    """The lines of kind "train" in ``metrics.jsonl``: mean loss, learning rate and seconds an iteration."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._since: list[Iteration] = []

    def after_iteration(self, done: Iteration) -> None:
        """See Hook."""
        self._since.append(done)
        if not done.due(self._context.config.monitor.log_every):
            return
        count = len(self._since)
        if self._context.fabric.is_global_zero:
            append_metric(
                self._context.folder,
                "train",
                done.number,
                loss=sum(i.loss for i in self._since) / count,
                lr=done.lr,
                seconds_per_iteration=sum(i.seconds for i in self._since) / count,
            )
        self._since = []

    def close(self) -> None:
        """See Hook."""


def standard_hooks(context: Context) -> Sequence[Hook]:
    """The hooks of every run, in the order in which they are called."""
    return [TrainLog(context), Monitor(context)]
