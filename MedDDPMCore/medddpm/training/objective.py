"""What an iteration minimizes (paper, Algorithm 1): noisy images with their masks in, the loss out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig
from ..models.frame import cut, residual_condition
from ..network.appearance import Coder, Look
from ..network.compact import CompactUNet
from ..network.residual import ResidualUNet
from ..network.spectrum import BINS
from ..network.wavelet import to_bands
from ..sampling.sample import without_mask
from ..sampling.schedule import Schedule, target
from .config import LossConfig

JITTER = 0.02  # standard deviation by which the means of labels are varied in training; images are in [-1, 1]


@dataclass(frozen=True)
class NoisyBatch:
    """Input and wanted output of the network.

    ``x``: noisy images with the mask channels after them, (B, C + L, D, H, W) float32; in a crop, for a network that is
    told, the place in the head follows (see ``network.position``). For a network in the residual domain: what that is
    told (see ``network.residual``). ``wanted``: the training target, (B, C, D, H, W); ``t``: integer noise levels (B,).
    """

    x: Tensor
    wanted: Tensor
    t: Tensor

    @classmethod
    def joined(cls, batches: Sequence[NoisyBatch]) -> NoisyBatch:
        """One batch of several."""
        return cls(*(torch.cat([getattr(batch, name) for batch in batches]) for name in ("x", "wanted", "t")))

    def pin_memory(self) -> NoisyBatch:
        """The same where a GPU fetches it fast; called by torch's DataLoader."""
        return NoisyBatch(self.x.pin_memory(), self.wanted.pin_memory(), self.t.pin_memory())

    def to(self, device: torch.device) -> NoisyBatch:
        """The same on ``device``, with channels last in memory."""
        x = self.x.to(device, memory_format=torch.channels_last_3d, non_blocking=True)
        return NoisyBatch(x, self.wanted.to(device, non_blocking=True), self.t.to(device, non_blocking=True))


class Objective:
    """Draws noisy volumes and computes their loss for one model.

    ``mask_dropout``: the probability with which a volume's mask is replaced by the model's ``dropped_mask``.
    ``coder``: that of a network in the residual domain.
    """

    def __init__(
        self,
        model: ModelConfig,
        schedule: Schedule,
        loss: LossConfig | None = None,
        mask_dropout: float = 0.0,
        coder: Coder | None = None,
    ) -> None:
        self.model, self.schedule, self.mask_dropout = model, schedule, mask_dropout
        self.coder = coder or Coder(torch.ones(model.network.image_channels, BINS))
        self._loss = loss or LossConfig()
        self._weights = level_weights(schedule, model.schedule.prediction, self._loss)

    @property
    def residual(self) -> bool:
        """Whether the network is in the residual domain, so that the appearance of a scan matters."""
        return self.model.network.domain == "residual"

    def draw(
        self,
        images: Tensor,
        fractions: Tensor,
        generator: torch.Generator,
        look: Look | None = None,
        rim: int = 0,
    ) -> NoisyBatch:
        """One volume (C, D, H, W) with its label fractions (L, D, H, W) as a batch of one.

        The noise level is uniform in 0 to T-1, the noise Gaussian. ``look``: the appearance of the scan that the volume
        is a part of (None: the volume is all of it); its means are varied a little. ``rim``: see ``noisy``.
        """
        t = torch.randint(self.schedule.steps, (1,), generator=generator)
        noise = torch.randn(images.shape, generator=generator)
        if self.mask_dropout and float(torch.rand((), generator=generator)) < self.mask_dropout:
            fractions = without_mask(fractions[None], self.model)[0]
        if self.residual:
            look = look or self.coder.measure(images, fractions)
            look = replace(look, means=look.means + JITTER * torch.randn(look.means.shape, generator=generator))
        return self.noisy(images[None], fractions[None], t, noise[None], look, rim)

    def noisy(
        self, x0: Tensor, fractions: Tensor, t: Tensor, noise: Tensor, look: Look | None = None, rim: int = 0
    ) -> NoisyBatch:
        """The batch for given noise levels and noise (paper, eq. 1); of one volume where the appearance matters.

        ``rim``: an even number of voxels around a part of a scan, which filters reach into, and which are cut away.
        """
        off, on = self.model.mask_values
        alpha = torch.from_numpy(self.schedule.alpha)[t].float()[:, None, None, None, None]
        sigma = torch.from_numpy(self.schedule.sigma)[t].float()[:, None, None, None, None]
        if self.residual:
            look = look or self.coder.measure(x0[0], fractions[0])
            clean = self.coder.encode(look, look.left(x0, fractions))
            told = residual_condition(look.source(fractions), fractions)
            x = torch.cat([alpha * clean + sigma * to_bands(noise), told], dim=1)
            sides = tuple(side - rim for side in x.shape[2:])  # of blocks of two voxels
            return NoisyBatch(cut(x, (rim // 2,) * 3, sides), cut(clean, (rim // 2,) * 3, sides), t)
        wanted = target(self.model.schedule.prediction, x0, noise, alpha, sigma)
        x = torch.cat([alpha * x0 + sigma * noise, off + (on - off) * fractions], dim=1)
        return NoisyBatch(x, wanted, t)

    def loss(self, network: Any, batch: NoisyBatch) -> Tensor:
        """The mean over the batch of every volume's loss with the weight of its noise level.

        ``network`` is what Fabric made of the network; the network itself is its ``module``.
        """
        return (self.losses(network, batch) * self._weights.to(batch.t.device)[batch.t]).mean()

    def losses(self, network: Any, batch: NoisyBatch) -> Tensor:
        """The loss of every volume, (B,), all noise levels alike: the mean distance of prediction and target.

        That of a network on bands is its own, in units of what its linear estimate leaves open.
        """
        prediction = network(batch.x, batch.t)
        inner = getattr(network, "module", network)
        if isinstance(inner, ResidualUNet):
            return inner.loss(prediction, batch.wanted, batch.x, batch.t, self._loss.kind)
        if isinstance(inner, CompactUNet):
            first = self.model.network.image_channels
            mask = batch.x[:, first : first + self.model.network.mask_channels]
            return inner.loss(prediction, batch.wanted, mask, batch.t, self._loss.kind)
        error = prediction.float() - batch.wanted
        return (error.abs() if self._loss.kind == "l1" else error.square()).mean(dim=(1, 2, 3, 4))


def level_weights(schedule: Schedule, prediction: str, loss: LossConfig) -> Tensor:
    """The weight of each noise level, float32 (T,): 1, or the min-SNR weights of Hang et al. 2023 (section 3.4).

    These weigh the squared error of x0 by min(SNR, gamma), with SNR = (alpha / sigma)^2; the squared error of the noise
    is SNR times that of x0, and that of v (SNR + 1) times. An absolute error (L1) gets their square root, so that here,
    too, the objective is the same whatever is predicted.
    """
    if not loss.min_snr_gamma:
        return torch.ones(schedule.steps)
    snr = torch.from_numpy((schedule.alpha / schedule.sigma) ** 2)
    share_of_x0 = {"x0": torch.ones_like(snr), "noise": 1 / snr, "v": 1 / (snr + 1)}[prediction]
    weights = snr.clamp(max=loss.min_snr_gamma) * share_of_x0
    return (weights if loss.kind == "l2" else weights.sqrt()).float()
