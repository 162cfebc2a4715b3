"""Which cases an iteration sees."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def batches(size: int, batch_size: int, seed: int, start: int) -> Iterator[list[int]]:
    """Endless batches of indices, each epoch a new permutation, beginning with batch number ``start``.

    The order depends on ``seed`` and the batch number alone, so that a resumed run sees what an uninterrupted one
    would.
    """
    number = start * batch_size
    while True:
        batch = []
        for position in range(number, number + batch_size):
            epoch, index = divmod(position, size)
            order = torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
            batch.append(int(order[index]))
        number += batch_size
        yield batch
