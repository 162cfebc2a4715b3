"""What is called after every iteration of a training, and what it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..config import ModelConfig
from ..progress import Reporter
from ..sampling.schedule import Schedule
from .config import TrainConfig
from .dataset import PreparedDataset
from .objective import Objective
from .state import TrainingState

if TYPE_CHECKING:  # estimates and evaluations do without it
    from lightning_fabric import Fabric


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
