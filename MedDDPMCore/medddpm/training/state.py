"""What changes while training, and the rule of the averaged weights."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..errors import MedDDPMError
from .config import EmaConfig


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

    def require_finite(self) -> None:
        """Raise MedDDPMError if a weight is not a finite number: such a state is worth no checkpoint."""
        for name, parameter in self.network.named_parameters():
            if not torch.isfinite(parameter).all():
                raise MedDDPMError(
                    f"The weights {name} became numbers that are not finite by iteration {self.iteration}. The last "
                    "checkpoint is kept; continue from it with a lower optimizer.lr or a smaller optimizer.clip_norm."
                )
