"""Which volumes an iteration sees, and how they become its batch.

A run counts the volumes that it sees; a volume's number (its position) decides alone which case it is, how that is
augmented, and which noise it gets. So a resumed run sees what an uninterrupted one would, and several processes see
together what one would.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from ..network.appearance import Look
from .augment import Augmentation
from .config import TrainConfig
from .dataset import PreparedDataset
from .objective import NoisyBatch, Objective


class Loader(Protocol):
    """Where the training loop takes its batches from."""

    def batch(self, iteration: int, part: int) -> NoisyBatch:
        """Part ``part`` (of ``accumulate``) of the batch of iteration ``iteration`` (0-based), on the CPU."""

    def close(self) -> None:
        """No more batches are wanted."""


class BatchSource:
    """A Loader that makes each batch when it is asked for; safe to ask from several threads.

    ``rank`` of ``world`` processes: each gets its share of a batch, contiguous in position.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        augmentation: Augmentation,
        objective: Objective,
        config: TrainConfig,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.dataset, self.augmentation, self.objective, self.config = dataset, augmentation, objective, config
        self._own = config.batch_size // world
        self._first = rank * self._own
        self._looks: dict[int, Look] = {}

    def positions(self, iteration: int, part: int) -> range:
        """The volumes of this process in a part of an iteration."""
        size, parts = self.config.batch_size, self.config.accumulate
        start = (iteration * parts + part) * size + self._first
        return range(start, start + self._own)

    def make(self, position: int) -> NoisyBatch:
        """The volume of this position, augmented and noisy, as a batch of one."""
        config = self.config
        generator = volume_generator(config.seed, position)
        index = case_at(len(self.dataset), config.seed, position)
        images, fractions = self.dataset.stored(index)
        iteration = position // (config.batch_size * config.accumulate)
        progress = iteration / config.iterations
        images, fractions = self.augmentation(images, fractions, generator, progress)
        rim = self.augmentation.rim(progress)
        return self.objective.draw(images, fractions, generator, self._look(index), rim)

    def _look(self, index: int) -> Look | None:
        """The appearance of a case; measured once."""
        if self.objective.residual and index not in self._looks:
            self._looks[index] = self.objective.coder.measure(*self.dataset[index])
        return self._looks.get(index)

    def batch(self, iteration: int, part: int) -> NoisyBatch:
        """See Loader."""
        return NoisyBatch.joined([self.make(position) for position in self.positions(iteration, part)])

    def close(self) -> None:
        """See Loader."""


def volume_generator(seed: int, position: int) -> torch.Generator:
    """The generator of all random numbers of the volume at ``position``.

    torch keeps the lowest 32 bits of a seed only, so both numbers are mixed into these.
    """
    mixed = int(np.random.SeedSequence([seed, position]).generate_state(1)[0])
    return torch.Generator().manual_seed(mixed)


def case_at(size: int, seed: int, position: int) -> int:
    """The index of the case at ``position``; every epoch of ``size`` positions is a new permutation of all."""
    epoch, index = divmod(position, size)
    return _order(size, seed, epoch)[index]


@lru_cache(maxsize=8)
def _order(size: int, seed: int, epoch: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return tuple(torch.randperm(size, generator=generator).tolist())
