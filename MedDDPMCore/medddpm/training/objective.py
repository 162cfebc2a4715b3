"""What an iteration minimizes (paper, Algorithm 1): noisy images with their masks in, the loss out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig
from ..network.compact import CompactUNet
from ..sampling.prediction import target
from ..sampling.schedule import Schedule


@dataclass(frozen=True)
class NoisyBatch:
    """Input and wanted output of the network.

    ``x``: noisy images with the mask channels after them, (B, C + L, D, H, W) float32; ``wanted``: the training target,
    (B, C, D, H, W); ``t``: integer noise levels (B,).
    """

    x: Tensor
    wanted: Tensor
    t: Tensor

    def to(self, device: torch.device) -> NoisyBatch:
        """The same on ``device``, with channels last in memory."""
        x = self.x.to(device, memory_format=torch.channels_last_3d)
        return NoisyBatch(x, self.wanted.to(device), self.t.to(device))


class Objective:
    """Draws noisy batches and computes their loss for one model."""

    def __init__(self, model: ModelConfig, schedule: Schedule) -> None:
        self.model = model
        self.schedule = schedule

    def draw(self, pairs: Sequence[tuple[Tensor, Tensor]], generator: torch.Generator) -> NoisyBatch:
        """Noise levels uniform in 0 to T-1 and Gaussian noise for the (images, fractions) of a batch."""
        x0, fractions = (torch.stack(tensors) for tensors in zip(*pairs, strict=True))
        t = torch.randint(self.schedule.steps, (len(pairs),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        return self.noisy(x0, fractions, t, noise)

    def noisy(self, x0: Tensor, fractions: Tensor, t: Tensor, noise: Tensor) -> NoisyBatch:
        """The batch for given noise levels and noise (paper, eq. 1)."""
        off, on = self.model.mask_values
        alpha = torch.from_numpy(self.schedule.alpha)[t].float()[:, None, None, None, None]
        sigma = torch.from_numpy(self.schedule.sigma)[t].float()[:, None, None, None, None]
        wanted = target(self.model.schedule.prediction, x0, noise, alpha, sigma)
        x = torch.cat([alpha * x0 + sigma * noise, off + (on - off) * fractions], dim=1)
        return NoisyBatch(x, wanted, t)

    def loss(self, network: Any, batch: NoisyBatch) -> Tensor:
        """L1 between prediction and target (paper, eq. 4); weighted in the wavelet domain.

        ``network`` is what Fabric made of the network; the network itself is its ``module``.
        """
        prediction = network(batch.x, batch.t)
        inner = network.module
        if isinstance(inner, CompactUNet):
            condition = batch.x[:, self.model.network.image_channels :]
            return inner.loss(prediction, batch.wanted, condition, batch.t)
        return (prediction.float() - batch.wanted).abs().mean()
