"""Reproducible noise: one generator a sample, on the CPU, whatever the device and the batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import InputError
from .names import MAX_SEED


def seeded_noise(seed: int, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Endless standard normal tensors of ``shape``, float32 on the CPU; the first is x_T, then one a step.

    Drawn on the CPU because a GPU's generator gives other numbers than the CPU's for the same seed.
    """
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"The seed {seed} is out of range: it must be between 0 and {MAX_SEED}.")
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(shape, generator=generator)
