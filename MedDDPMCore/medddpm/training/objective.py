"""What an iteration minimizes (paper, Algorithm 1): noisy images with their masks in, the loss out.

``Validation`` has that loss on fixed noise, for each band of noise levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

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

MIDDLE = (1.0, 1.25)  # mean and standard deviation of logit(t / T) where the middle noise levels are trained most
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

        The noise level is in 0 to T-1 (see ``LossConfig``), the noise Gaussian. ``look``: the appearance of the scan
        that the volume is a part of (None: the volume is all of it); its means are varied a little. ``rim``: see
        ``noisy``.
        """
        if self._loss.levels == "middle":
            time = torch.sigmoid(MIDDLE[0] + MIDDLE[1] * torch.randn(1, generator=generator))
            t = (time * self.schedule.steps).long().clamp(max=self.schedule.steps - 1)
        else:
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

        ``network`` is what Fabric made of the network; the network itself is its ``module``. A GAN has its own loss.
        """
        if self.model.network.adversarial:
            return network(batch.x, batch.t, batch.wanted).mean()
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
                        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + case) * 10_007 + t)
                        noise = torch.randn((1, *images.shape), generator=generator)
                        batch = self._objective.noisy(images[None], fractions[None], torch.tensor([t]), noise)
                        with autocast():
                            values.append(float(self._objective.losses(network, batch.to(device))[0]))
        finally:
            network.train(mode)
        means = [math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan for values in totals]
        return [BandLoss(low, high, mean) for (low, high), mean in zip(self._bands, means, strict=True)]


def mean_loss(found: Sequence[BandLoss]) -> float:
    """The mean over the bands; not finite where one of them is not."""
    return math.fsum(band.loss for band in found) / len(found)
