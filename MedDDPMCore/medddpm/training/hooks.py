"""What is called after every iteration of a training, and what it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..config import ModelConfig
from ..progress import Reporter
from .config import EmaConfig, TrainConfig
from .dataset import PreparedDataset
from .objective import Objective

if TYPE_CHECKING:
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

    def due(self, every: int) -> bool:
        """Whether something that happens ``every`` so many iterations (0: never) and at the end happens now."""
        return every > 0 and (self.number % every == 0 or self.number >= self.total)


class Hook(Protocol):
    """Something that follows a run. An exception that it raises ends the training."""

    def after_iteration(self, done: Iteration) -> None:
        """Called in every process after every iteration, before a checkpoint is written."""

    def close(self) -> None:
        """Called once at the end of the run, however it ends."""


@dataclass
class TrainingState:
    """The modules, the optimizer and the number of finished iterations.

    ``network`` and ``optimizer`` are what Fabric made of them; ``average`` holds the averaged weights in its
    ``module``. ``validation`` is the newest validation loss, None until there is one.
    """

    network: Any
    average: AveragedModel
    optimizer: Any
    iteration: int = 0
    validation: float | None = None

    def update_average(self, config: EmaConfig) -> None:
        """Take the network's weights into the average, after an iteration that is already counted."""
        if self.iteration % config.every and self.iteration > config.start:
            return
        n = self.iteration - 1
        decay = 0.0 if n < config.start else min(config.decay, (1 + n) / (10 + n))
        network = self.network.module
        # Of a network that is divided over processes, one parameter after the other is gathered.
        whole: Any = SimpleNamespace(
            parameters=lambda: (p.full_tensor() if isinstance(p, DTensor) else p for p in network.parameters()),
            buffers=network.buffers,
        )
        self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.average.n_averaged.fill_(n)
        self.average.update_parameters(whole)
