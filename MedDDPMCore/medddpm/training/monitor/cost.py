"""How often the monitor evaluates the network in a training, told before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from ...dataset import DatasetConfig
from ..config import TrainConfig
from .samples import spread
from .validation import bands, levels


@dataclass(frozen=True)
class MonitorPasses:
    """Passes of whole volumes through the network, without gradients, over a whole training.

    Those of ``validation`` are in the precision of the training, those of ``samples`` in the one that samples take.
    """

    validation: int
    samples: int


def monitor_passes(config: TrainConfig, dataset: DatasetConfig) -> MonitorPasses:
    """What validation and samples ask of the network; nothing where the dataset has no held-out case."""
    options = config.monitor
    held_out = sum(case.split == options.split for case in dataset.cases)
    chosen = len(spread(held_out, options.validation_cases))
    draws = sum(len(levels(*band)) for band in bands(config.schedule.steps, options.bands))
    sampled = len(spread(held_out, options.samples))
    return MonitorPasses(
        rounds(config.iterations, options.validate_every) * chosen * draws,
        rounds(config.iterations, options.sample_every) * sampled * options.sample_steps,
    )


def rounds(iterations: int, every: int) -> int:
    """How often something happens that is due every so many iterations (0: never) and at the end."""
    return -(-iterations // every) if every else 0
