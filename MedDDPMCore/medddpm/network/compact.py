"""The compact network: a U-Net on wavelet bands at half the resolution, around the best linear denoiser.

A U-Net that sees voxels has to learn first what is known beforehand: which intensities a label has on average, how
strong detail of each size is, and so how much of what it sees at a noise level can only be noise. Here that is
computed. From the training data come the mean of each label and the strength of each wavelet band; for an image with
these moments the best linear estimate of x0 is known (Wiener's filter). The U-Net corrects it, with input and output
scaled to unit variance at every noise level and in every band (the preconditioning of Karras et al. 2022, eq. 7, for
each band in place of the whole image). It works on the 2x2x2 blocks of one Haar level, so that the same channels cost
an eighth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import NetworkConfig
from .unet import UNet3D
from .wavelet import BANDS, from_bands, from_pyramid, pyramid, to_bands

LEVELS = 4
# Share of a band's variance that is allowed where no label is: masks and images do not end at quite the same voxel.
OUTSIDE = 1e-3
MIN_STD = 1e-3
BACKGROUND = -1.0  # of images inside the network


class Scales(NamedTuple):
    """Factors of one band: of x in the linear estimate, of the U-Net's output, and of its input (EDM's c)."""

    skip: Tensor
    out: Tensor
    into: Tensor


class CompactUNet(nn.Module):
    """Predicts x0 from a noisy image with its mask (fractions from 0 to 1) concatenated, as ``UNet3D`` does.

    Tell it the noise schedule with ``use_schedule`` before the first call. ``label_means`` (labels + 1, image channels)
    has the mean intensity of each label, background last; ``band_std`` (LEVELS + 1, image channels, 7) the strength of
    what is left, band by band, finest first. Both are part of the weights; ``fit`` takes them from training data.
    Everything around ``body`` is computed in fp32: at low noise levels it is small differences that count.
    """

    alpha: Tensor
    sigma: Tensor
    label_means: Tensor
    band_std: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.body = UNet3D(body_config(config))
        self.register_buffer("alpha", torch.ones(1), persistent=False)
        self.register_buffer("sigma", torch.zeros(1), persistent=False)
        self.register_buffer("label_means", torch.full((config.mask_channels + 1, config.image_channels), BACKGROUND))
        self.register_buffer("band_std", torch.ones(LEVELS + 1, config.image_channels, BANDS - 1))
        for parameter in self.body.out[2].parameters():  # begin as the linear denoiser
            nn.init.zeros_(parameter)

    def use_schedule(self, alpha: Tensor, sigma: Tensor) -> None:
        """Take over the noise schedule, (T,) each; it is not part of the weights."""
        self.alpha = alpha.float()
        self.sigma = sigma.float()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            image, mask = x.float().split([self.config.image_channels, self.config.mask_channels], dim=1)
            mean, scales = self.expected(mask), self.scales(mask, t)
            noisy = pyramid(image - self._at(self.alpha, t, 5) * mean, LEVELS)
            white = from_pyramid([part * scale.into for part, scale in zip(noisy, scales, strict=True)])
            seen = torch.cat([to_bands(white), to_bands(mask) / 2], dim=1)
        seen = seen.to(next(self.body.parameters()).dtype).contiguous(memory_format=torch.channels_last_3d)
        correction = self.body(seen, t)
        with torch.autocast(x.device.type, enabled=False):
            parts = pyramid(from_bands(correction.float()), LEVELS)
            rows = zip(noisy, parts, scales, strict=True)
            clean = from_pyramid([scale.skip * part + scale.out * own for part, own, scale in rows])
            return (mean + clean).to(x.dtype)

    def expected(self, mask: Tensor) -> Tensor:
        """The image that the mask alone tells: the mean intensity of what covers a voxel, (B, C, D, H, W)."""
        covered = torch.cat([mask, 1 - mask.sum(1, keepdim=True)], dim=1)
        return torch.einsum("bl...,lc->bc...", covered, self.label_means.float())

    def variances(self, mask: Tensor) -> list[Tensor]:
        """Variance of what ``expected`` leaves in each band and place, shapes as ``pyramid``."""
        inside, found = mask.sum(1, keepdim=True).clamp(0, 1), []
        for level, std in enumerate(self.band_std.float()):
            inside = F.avg_pool3d(inside, 2) if level < LEVELS else inside
            strength = std.square() if level < LEVELS else std[:, :1].square()
            found.append(strength[None, :, :, None, None, None] * (inside[:, :, None] + OUTSIDE))
        return found

    def scales(self, mask: Tensor, t: Tensor) -> list[Scales]:
        """The factors of each band and place at the steps ``t`` (B,)."""
        alpha, sigma = self._at(self.alpha, t, 6), self._at(self.sigma, t, 6)
        found = []
        for variance in self.variances(mask):
            total = alpha**2 * variance + sigma**2
            found.append(Scales(alpha * variance / total, sigma * (variance / total).sqrt(), total.rsqrt()))
        return found

    def loss(self, prediction: Tensor, x0: Tensor, mask: Tensor, t: Tensor) -> Tensor:
        """L1 distance in units of what the linear estimate leaves open, coarse bands with more weight than fine ones.

        Weights go with the square root of a band's strength: between counting coefficients, which fine noise would
        win, and counting energy, which would leave detail unlearned.
        """
        with torch.autocast(x0.device.type, enabled=False):
            errors, mask = pyramid(prediction.float() - x0, LEVELS), mask.float()
            total, norm = x0.new_zeros(()), x0.new_zeros(())
            for error, variance, scale in zip(errors, self.variances(mask), self.scales(mask, t), strict=True):
                weight = variance.sqrt().sqrt()
                total = total + (error / scale.out * weight).abs().sum()
                norm = norm + weight.sum()
            return total / norm

    @torch.no_grad()
    def fit(self, cases: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the moments from training cases: images (C, D, H, W) and mask fractions (L, D, H, W); read twice."""
        totals, weights = torch.zeros_like(self.label_means), torch.zeros(len(self.label_means))
        for image, mask in cases:
            totals[:-1] += torch.einsum("lxyz,cxyz->lc", mask.float(), image.float())
            weights[:-1] += mask.float().sum((1, 2, 3))
        self.label_means[:-1] = totals[:-1] / weights[:-1, None].clamp_min(1)
        energy, counts = torch.zeros_like(self.band_std), torch.zeros(LEVELS + 1)
        for image, mask in cases:
            inside = mask.float()[None].sum(1, keepdim=True).clamp(0, 1)
            for level, part in enumerate(pyramid(image.float()[None] - self.expected(mask.float()[None]), LEVELS)):
                inside = F.avg_pool3d(inside, 2) if level < LEVELS else inside
                energy[level, :, : part.shape[2]] += part.square().sum((0, 3, 4, 5))
                counts[level] += inside.sum()
        self.band_std.copy_((energy / counts.clamp_min(1)[:, None, None]).sqrt().clamp_min(MIN_STD))

    @staticmethod
    def _at(values: Tensor, t: Tensor, axes: int) -> Tensor:
        return values.float()[t].reshape(-1, *[1] * (axes - 1))


def body_config(config: NetworkConfig) -> NetworkConfig:
    """The U-Net inside: all bands as channels, at half the resolution."""
    return replace(
        config,
        image_channels=config.image_channels * BANDS,
        mask_channels=config.mask_channels * BANDS,
        domain="voxels",
    )
