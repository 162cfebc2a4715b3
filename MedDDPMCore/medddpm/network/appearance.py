"""How a scan looks, apart from what it shows: the mean intensity of each label, and the strength of detail around it.

Contrast differs from scanner to scanner, but is the same all over a brain. So it is no matter of chance in every voxel:
it is measured in the training cases, drawn once for an image, or taken from a reference scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .wavelet import BANDS, from_bands, to_bands

BACKGROUND = -1.0
FACTORS = 16  # directions in which the appearances of the training cases differ most
LEAST_VOXELS = 50.0  # of a label, below which a case does not tell its intensity
PRIOR_VOXELS = 5.0
LEAST_SCALE = 1e-3
FARTHEST = 2.0  # standard deviations that a drawn appearance may be away from the mean, along each factor


@dataclass(frozen=True)
class Look:
    """The appearance of one scan: ``means`` (L, C), intensities in [-1, 1]; ``scales`` (8 C,), the standard deviation
    of each Haar band of what the means leave over.
    """

    means: Tensor
    scales: Tensor

    def source(self, fractions: Tensor) -> Tensor:
        """The image of the means, (B, C, D, H, W), for label fractions (B, L, D, H, W); -1 outside of all labels."""
        return torch.einsum("bl...,lc->bc...", fractions, self.means - BACKGROUND) + BACKGROUND

    def encode(self, images: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """Scaled bands (B, 8 C, D/2, H/2, W/2) of what ``images`` show beyond ``source`` where ``inside`` is 1."""
        return to_bands((images - source) * inside) / self._scales(images)

    def decode(self, bands: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """The inverse of ``encode``; not clamped."""
        return source + inside * from_bands(bands * self._scales(bands))

    def _scales(self, like: Tensor) -> Tensor:
        return self.scales.to(like.device)[:, None, None, None]


def inside(fractions: Tensor) -> Tensor:
    """1 where a label covers any part of a voxel, else 0, (B, 1, D, H, W)."""
    return (fractions.sum(1, keepdim=True) > 0).float()


def measure(images: Tensor, fractions: Tensor) -> Look:
    """The appearance of a scan (C, D, H, W) in [-1, 1] with its label fractions (L, D, H, W); NaN for labels that are
    not there.

    The means are those for which the image of means comes closest to the scan (least squares), so that voxels on a
    border do not blur them.
    """
    covered = fractions.sum(0) > 0
    shares, values = fractions[:, covered].double(), images[:, covered].double() - BACKGROUND
    weights = shares.sum(1)
    there = weights >= LEAST_VOXELS
    shares = shares[there]
    plain = shares @ values.T / weights[there, None]
    # A few voxels of prior decide where labels occur together only.
    prior = torch.diag(torch.full((len(shares),), PRIOR_VOXELS, dtype=torch.float64))
    means = torch.full((len(fractions), len(images)), torch.nan, dtype=torch.float64)
    means[there] = torch.linalg.solve(shares @ shares.T + prior, shares @ values.T + prior @ plain)
    means = (means + BACKGROUND).float()
    known = Look(means.nan_to_num(0.0), torch.ones(BANDS * len(images)))
    mask = inside(fractions[None].float())
    bands = known.encode(images[None].float(), known.source(fractions[None].float()), mask)
    energy = bands.square().sum((0, 2, 3, 4)) / (to_bands(mask)[:, 0].sum() / BANDS**0.5).clamp_min(1)
    return Look(means, energy.sqrt().clamp_min(LEAST_SCALE))


class Appearance(nn.Module):
    """The distribution of appearances over the training cases: a normal one, with ``FACTORS`` factors.

    Its numbers are the means (L, C), then the logarithms of the scales (8 C,). ``fit`` takes it from training cases.
    """

    mean: Tensor
    factors: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self._labels, self._images = config.mask_channels, config.image_channels
        size = (config.mask_channels + BANDS) * config.image_channels
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("factors", torch.zeros(FACTORS, size))

    @torch.no_grad()
    def fit(self, looks: Iterable[Look]) -> None:
        """Take the distribution from the appearances of the training cases."""
        rows = torch.stack([torch.cat([look.means.flatten(), look.scales.log()]) for look in looks])
        mean = rows.nanmean(0).nan_to_num(0.0)
        spread = torch.where(rows.isnan(), 0.0, rows - mean)
        _, values, directions = torch.linalg.svd(spread, full_matrices=False)
        factors = (values / max(1, len(rows) - 1) ** 0.5)[:FACTORS, None] * directions[:FACTORS]
        self.mean.copy_(mean)
        self.factors.zero_()[: len(factors)] = factors

    def look(self, generator: torch.Generator | None = None) -> Look:
        """The mean appearance, or one drawn with ``generator``."""
        row = self.mean.float()
        if generator is not None:
            drawn = torch.randn(FACTORS, generator=generator).clamp(-FARTHEST, FARTHEST)
            row = row + drawn.to(row.device) @ self.factors.float()
        cut = self._labels * self._images
        return Look(row[:cut].reshape(self._labels, self._images).clamp(-1, 1), row[cut:].exp())

    def completed(self, look: Look) -> Look:
        """``look`` with the mean of the training cases for labels that it does not know."""
        return Look(torch.where(look.means.isnan(), self.look().means, look.means), look.scales)
