"""What changes while training, and how it goes into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

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

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain data for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "validation": self.validation,
        }

    def load(self, checkpoint: dict[str, Any]) -> None:
        """The inverse of ``to_dict``; ``checkpoint`` also holds the number of iterations as ``step``."""
        self.network.load_state_dict(checkpoint["network"])
        self.average.load_state_dict(checkpoint["average"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.iteration = int(checkpoint["step"])
        self.validation = checkpoint.get("validation")

    def update_average(self, config: EmaConfig) -> None:
        """Take the network's weights into the average, after an iteration that is already counted."""
        if self.iteration % config.every == 0 or self.iteration <= config.start:
            self.average.n_averaged.fill_(self.iteration - 1)  # the rule of ``moving_average`` counts iterations
            self.average.update_parameters(self.network.module)

    def require_finite(self) -> None:
        """Raise MedDDPMError if a weight is not a finite number: such a state is worth no checkpoint."""
        for name, parameter in self.network.named_parameters():
            if not torch.isfinite(parameter).all():
                raise MedDDPMError(
                    f"The weights {name} became numbers that are not finite by iteration {self.iteration}. The last "
                    "checkpoint is kept; continue from it with a lower optimizer.lr or a smaller optimizer.clip_norm."
                )


def moving_average(config: EmaConfig) -> Callable[[Any, Any, Any], None]:
    """The rule of ``EmaConfig`` for an AveragedModel that counts iterations."""

    @torch.no_grad()
    def update(average: Any, current: Any, iterations: Tensor) -> None:
        n = float(iterations)
        decay = 0.0 if n < config.start else min(config.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(average, current, 1 - decay)

    return update
