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
from .spectrum import BINS, RadialPower, at_frequencies, filtered
from .wavelet import BANDS, from_bands, to_bands

BACKGROUND = -1.0
FACTORS = 16  # directions in which the appearances of the training cases differ most
LEAST_VOXELS = 50.0  # of a label, below which a case does not tell its intensity
PRIOR_VOXELS = 5.0
LEAST_SCALE = 1e-3
FARTHEST = 2.0  # standard deviations that a drawn appearance may be away from the mean, along each factor


@dataclass(frozen=True)
class Look:
    """The appearance of one scan: ``means`` (L, C), the intensity of each label in [-1, 1], NaN where it is not known;
    ``scales`` (8 C,), the strength of each band (see ``Coder``) beside that in the training cases.
    """

    means: Tensor
    scales: Tensor

    def source(self, fractions: Tensor) -> Tensor:
        """The image of the means, (B, C, D, H, W), for label fractions (B, L, D, H, W); -1 outside of all labels."""
        means = self.means.to(fractions.device).nan_to_num()
        return torch.einsum("bl...,lc->bc...", fractions, means - BACKGROUND) + BACKGROUND


def inside(fractions: Tensor) -> Tensor:
    """1 where a label covers any part of a voxel, else 0, (B, 1, D, H, W)."""
    return (fractions.sum(1, keepdim=True) > 0).float()


def label_means(images: Tensor, fractions: Tensor) -> Tensor:
    """The means (L, C) for which the image of means comes closest to the scan; NaN for a label that is not there.

    ``images`` (C, D, H, W) in [-1, 1], ``fractions`` (L, D, H, W). By least squares, so that voxels on a border, which
    belong to two labels, do not blur them.
    """
    covered = fractions.sum(0) > 0
    shares, values = fractions[:, covered].double(), images[:, covered].double()
    there = shares.sum(1) >= LEAST_VOXELS
    means = torch.full((len(fractions), len(images)), torch.nan, dtype=torch.float64)
    if there.any():
        # What no label covers is empty; a few voxels of prior decide where labels occur together only.
        shares, values = shares[there], values - BACKGROUND
        plain = shares @ values.T / shares.sum(1, keepdim=True)
        prior = torch.diag(torch.full((len(shares),), PRIOR_VOXELS, dtype=torch.float64))
        means[there] = BACKGROUND + torch.linalg.solve(shares @ shares.T + prior, shares @ values.T + prior @ plain)
    return means.float().clamp(-1, 1)


class Coder:
    """What images show beyond the image of means, as Haar bands in which every detail is about equally strong.

    ``power`` (C, BINS): the mean spectrum of what the means leave over in the training cases. Coarse differences are
    many times as strong as fine detail; divided by that, noise that is white here has the spectrum of the real thing,
    and shading over the whole brain is there at once with fine texture (Wiener's whitening filter).
    """

    def __init__(self, power: Tensor) -> None:
        self.power = power
        self._gains: dict[tuple[int, ...], Tensor] = {}

    def encode(self, look: Look, left: Tensor) -> Tensor:
        """Bands (B, 8 C, D/2, H/2, W/2) of ``left`` (B, C, D, H, W): images less image of means, 0 outside labels."""
        return to_bands(filtered(left, 1 / self._amplitude(left))) / self._scales(look, left)

    def decode(self, look: Look, bands: Tensor) -> Tensor:
        """The inverse of ``encode``."""
        white = from_bands(bands * self._scales(look, bands))
        return filtered(white, self._amplitude(white))

    def measure(self, images: Tensor, fractions: Tensor) -> Look:
        """The appearance of a scan (C, D, H, W) in [-1, 1] with its label fractions (L, D, H, W)."""
        look = Look(label_means(images, fractions), torch.ones(BANDS * len(images)))
        mask = inside(fractions[None])
        bands = self.encode(look, (images[None] - look.source(fractions[None])) * mask)
        covered = (to_bands(mask)[:, :1] >= BANDS**0.5 / 2).float()
        energy = (bands.square() * covered).sum((0, 2, 3, 4)) / covered.sum().clamp_min(1)
        return Look(look.means, energy.sqrt().clamp_min(LEAST_SCALE))

    def _amplitude(self, like: Tensor) -> Tensor:
        shape = tuple(like.shape[2:])
        if shape not in self._gains:
            self._gains = {shape: at_frequencies(self.power, like).sqrt()}
        return self._gains[shape]

    @staticmethod
    def _scales(look: Look, like: Tensor) -> Tensor:
        return look.scales.to(like.device)[:, None, None, None]


class Appearance(nn.Module):
    """The distribution of appearances over the training cases: a normal one, with ``FACTORS`` factors.

    Its numbers are the means (L, C), then the logarithms of the scales (8 C,). ``power``: see ``Coder``.
    """

    mean: Tensor
    factors: Tensor
    power: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self._labels, self._images = config.mask_channels, config.image_channels
        size = (config.mask_channels + BANDS) * config.image_channels
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("factors", torch.zeros(FACTORS, size))
        self.register_buffer("power", torch.ones(config.image_channels, BINS))

    def coder(self) -> Coder:
        """The coder of this spectrum."""
        return Coder(self.power.detach().float().clone())

    @torch.no_grad()
    def fit(self, cases: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take spectrum and distribution from training cases: images (C, D, H, W) and fractions (L, D, H, W).

        ``cases`` is read twice.
        """
        power = RadialPower(self._images)
        for images, fractions in cases:
            look = Look(label_means(images, fractions), torch.ones(BANDS * len(images)))
            mask = inside(fractions[None])
            power.add(((images[None] - look.source(fractions[None])) * mask)[0], mask.sum())
        found = power.result()
        found[:, 0] = found[:, 1]  # the means leave nothing there
        self.power.copy_(found)
        self._fit_distribution([self.coder().measure(*case) for case in cases])

    def _fit_distribution(self, looks: list[Look]) -> None:
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
