"""Batches that are made ahead by further processes, so that training does not wait for its data."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError, MedDDPMError
from ..memory import usable_cores
from ..network.appearance import Look
from .augment import Augmentation
from .config import TrainConfig
from .dataset import PreparedDataset
from .objective import NoisyBatch, Objective

MOST_WORKERS = 8
# Batches that wait or are being made are at least so many, and no fewer than there are workers.
AHEAD = 4
# After so many batches one may say whether training waits for its data, and from which share of the time on.
JUDGED_BATCHES, WAITED_SHARE = 100, 0.2


def sensible_workers(asked: int, device: torch.device, processes: int) -> int:
    """How many workers each of ``processes`` training processes of this machine gets; ``asked`` -1 leaves it open.

    A GPU leaves the processor to the workers. On a CPU, training takes all of it: one worker does, and none where there
    are few cores.
    """
    if asked >= 0:
        return asked
    each = usable_cores() // processes
    if device.type == "cpu":
        return 1 if each >= 4 else 0
    return max(1, min(MOST_WORKERS, each - 1))


class BatchLoader:
    """Has the next batches of ``source`` made by ``workers`` processes (0: made on demand).

    Batches are asked for one after the other. What one holds depends on its iteration and part alone, so the number of
    workers changes nothing. ``waited`` is the time in seconds that ``batch`` took so far; ``warn`` is called once where
    that is much of the time. ``pin`` puts batches where a GPU fetches them fast. Raises MedDDPMError with a sentence
    where a worker fails or is killed.
    """

    def __init__(
        self,
        source: BatchSource,
        workers: int = 0,
        pin: bool = False,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.source, self.workers, self._pin, self._warn = source, workers, pin, warn
        self.waited = 0.0
        self._count = 0
        self._started = time.monotonic()
        self._coming: Iterator[NoisyBatch | str] | None = None

    def batch(self, iteration: int, part: int) -> NoisyBatch:
        """See ``BatchSource.batch``."""
        started = time.monotonic()
        parts = self.source.config.accumulate
        made = self._ahead(iteration * parts + part) if self.workers else self.source.batch(iteration, part)
        self._judge(time.monotonic() - started)
        return made

    def close(self) -> None:
        """No more batches are wanted: ends the workers, with the last reference to their batches."""
        self._coming = None

    def _ahead(self, position: int) -> NoisyBatch:
        """The batch at ``position`` (the number of parts before it), where the workers begin if it is the first."""
        if self._coming is None:
            self._coming = self._begin(position)
        try:
            made = next(self._coming)
        except (RuntimeError, OSError, EOFError) as exc:  # what DataLoader says of a worker that is gone
            self.close()
            shared = "bus error" in str(exc).lower() or "shared memory" in str(exc).lower()
            remedy = (
                "There is too little shared memory: enlarge /dev/shm (docker run --shm-size=8g) or set scale.workers "
                "lower."
                if shared
                else "It was killed or ran out of memory: set scale.workers lower, or free memory."
            )
            raise MedDDPMError(
                f"One of the {self.workers} process(es) that prepare the batches of this training ended unexpectedly. "
                f"{remedy} The last checkpoint is kept; start the training again to resume from it."
            ) from exc
        if isinstance(made, str):
            self.close()
            raise InputError(made)
        return made

    def _begin(self, position: int) -> Iterator[NoisyBatch | str]:
        """Start the workers at ``position``.

        They are started by a process that has no threads and has not touched a GPU, not copied from this one.
        """
        method = "spawn" if sys.platform == "win32" else "forkserver"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload([__name__])
        config = self.source.config
        loader = DataLoader(
            _Parts(self.source),
            batch_size=None,
            sampler=range(position, config.iterations * config.accumulate),
            num_workers=self.workers,
            prefetch_factor=max(1, -(-AHEAD // self.workers)),
            pin_memory=self._pin,
            multiprocessing_context=context,
        )
        with _own_child_signal():
            return iter(loader)

    def _judge(self, seconds: float) -> None:
        """Count the time waited, but for the first batch, which waits for the workers to start."""
        self._count += 1
        if self._count == 1:
            self._started = time.monotonic()
            return
        self.waited += seconds
        share = self.waited / max(1e-9, time.monotonic() - self._started)
        if self._count == JUDGED_BATCHES and share > WAITED_SHARE and self._warn is not None:
            self._warn(
                f"The training waits {100 * share:.0f} % of its time for its data. Set scale.workers (now "
                f"{self.workers}) higher, ask for more processor cores, or set scale.cache = 'local' where the disk is "
                "slow."
            )


class _Parts(Dataset[NoisyBatch | str]):
    """What the workers do: position -> batch, or the sentence that says why not."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source

    def __getitem__(self, position: int) -> NoisyBatch | str:
        try:
            return self._source.batch(*divmod(position, self._source.config.accumulate))
        except MedDDPMError as exc:
            return str(exc)


@contextlib.contextmanager
def _own_child_signal() -> Iterator[None]:
    """Take back the handler by which DataLoader raises at any moment when any child of this process ends.

    ``next`` of its iterator finds a worker that is gone as well, within five seconds.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)


class BatchSource:
    """Makes each batch when it is asked for; safe to ask from several threads.

    A run counts the volumes that it sees; a volume's number (its position) decides alone which case it is, how that is
    augmented, and which noise it gets. So a resumed run sees what an uninterrupted one would, and several processes see
    together what one would.

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
        """Part ``part`` (of ``accumulate``) of the batch of iteration ``iteration`` (0-based), on the CPU."""
        return NoisyBatch.joined([self.make(position) for position in self.positions(iteration, part)])


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
