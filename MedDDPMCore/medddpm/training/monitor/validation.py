"""The validation loss of a network, for each band of noise levels, on fixed noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..objective import Objective

DRAWS = 2  # noise levels of a band


@dataclass(frozen=True)
class BandLoss:
    """Mean loss at the noise levels ``low`` to ``high``, both inclusive (0 is the least noisy); may be not finite."""

    low: int
    high: int
    loss: float


def bands(steps: int, count: int) -> list[tuple[int, int]]:
    """``count`` bands of about equal width (fewer where there are fewer levels) over 0 to ``steps`` - 1, inclusive."""
    count = min(count, steps)
    edges = [round(i * steps / count) for i in range(count + 1)]
    return [(low, high - 1) for low, high in itertools.pairwise(edges)]


def levels(low: int, high: int, draws: int = DRAWS) -> list[int]:
    """The noise levels of a band at which the loss is taken: ``draws`` of them, evenly within it."""
    width = high - low + 1
    return sorted({low + int((i + 0.5) * width / draws) for i in range(draws)})


class Validation:
    """Computes the loss on the same cases, noise levels and noise at every call, so that values compare.

    ``cases``: ``load(i)`` gives images (C, D, H, W) and label fractions (L, D, H, W) of case i of ``count``. The noise
    comes from generators of its own; the random state of the training stays untouched.
    """

    def __init__(
        self, count: int, load: Callable[[int], tuple[Tensor, Tensor]], objective: Objective, band_count: int, seed: int
    ) -> None:
        self._count, self._load, self._objective, self._seed = count, load, objective, seed
        self._bands = bands(objective.schedule.steps, band_count)

    @torch.no_grad()
    def __call__(
        self,
        network: nn.Module,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        check_cancelled: Callable[[], None] = lambda: None,
    ) -> list[BandLoss]:
        """The loss of ``network`` in each band, lowest noise first, all cases weighing the same.

        One volume is evaluated at a time. ``autocast`` gives the precision of the training.
        """
        totals: list[list[float]] = [[] for _ in self._bands]
        mode = network.training
        network.eval()
        try:
            for case in range(self._count):
                images, fractions = self._load(case)
                for values, (low, high) in zip(totals, self._bands, strict=True):
                    for t in levels(low, high):
                        check_cancelled()
                        batch = self._objective.noisy(
                            images[None], fractions[None], torch.tensor([t]), self._noise(images, case, t)
                        )
                        with autocast():
                            values.append(float(self._objective.losses(network, batch.to(device))[0]))
        finally:
            network.train(mode)
        means = [math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan for values in totals]
        return [BandLoss(low, high, mean) for (low, high), mean in zip(self._bands, means, strict=True)]

    def _noise(self, images: Tensor, case: int, t: int) -> Tensor:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + case) * 10_007 + t)
        return torch.randn((1, *images.shape), generator=generator)


def mean_loss(found: Sequence[BandLoss]) -> float:
    """The mean over the bands; not finite where one of them is not."""
    return math.fsum(band.loss for band in found) / len(found)
