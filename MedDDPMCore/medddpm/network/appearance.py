"""How a scan looks, apart from what it shows: the mean intensity of each label, and how strong detail around it is.

Contrast differs from scanner to scanner, but is the same all over a brain. So it is no matter of chance in every voxel:
it is measured in the training cases, drawn once for an image, or taken from a reference scan.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .spectrum import BINS, RadialPower, at_frequencies, filtered
from .wavelet import BANDS, from_bands, to_bands

BACKGROUND = -1.0
FACTORS = 16  # directions in which the appearances of the training cases differ most
LEAST_VOXELS = 50.0  # of a label, below which a case does not tell its intensity
PRIOR_VOXELS = 5.0
LEAST_SCALE, LEAST_SPREAD = 1e-3, 0.01
FARTHEST = 2.0  # standard deviations that a drawn appearance may be away from the mean, along each factor
SOFTNESSES = (0.0, 0.4, 0.6, 0.8, 1.0, 1.2)  # voxels
SOFTNESS_CASES = 5  # enough to tell


@dataclass(frozen=True)
class Look:
    """The appearance of one scan: ``means`` (L, C), the intensity of each label in [-1, 1]; ``spreads`` (L, C), the
    standard deviation from it within the label; both NaN where not known. ``scales`` (8 C,): the strength of each band
    (see ``Coder``) beside that in the training cases. ``softness``: how far borders between labels are blurred, the
    standard deviation in voxels: a painted label ends from one voxel to the next, what a scan shows of it does not.
    """

    means: Tensor
    spreads: Tensor
    scales: Tensor
    softness: float = 0.0

    @classmethod
    def plain(cls, means: Tensor, softness: float = 0.0) -> Look:
        """One with detail of unit strength in all labels."""
        return cls(means, torch.ones_like(means), torch.ones(BANDS * means.shape[1]), softness)

    def source(self, fractions: Tensor) -> Tensor:
        """The image of the means, (B, C, D, H, W), for label fractions (B, L, D, H, W); -1 outside of all labels."""
        means = self.means.to(fractions.device).nan_to_num()
        painted = torch.einsum("bl...,lc->bc...", fractions, means - BACKGROUND)
        return softened(painted, fractions, self.softness) + BACKGROUND

    def spread(self, fractions: Tensor) -> Tensor:
        """The standard deviation around that image, of the same shape; outside of all labels its mean over them."""
        spreads = self.spreads.to(fractions.device)
        usual = spreads.nanmean(0)
        return torch.einsum("bl...,lc->bc...", fractions, (spreads - usual).nan_to_num()) + usual[:, None, None, None]

    def left(self, images: Tensor, fractions: Tensor) -> Tensor:
        """What ``images`` (B, C, D, H, W) show beyond the image of means, in standard deviations; 0 outside."""
        return (images - self.source(fractions)) / self.spread(fractions) * inside(fractions)

    def images(self, left: Tensor, fractions: Tensor) -> Tensor:
        """The inverse of ``left``; -1 outside of all labels."""
        return self.source(fractions) + left * self.spread(fractions) * inside(fractions)


def inside(fractions: Tensor) -> Tensor:
    """1 where a label covers any part of a voxel, else 0, (B, 1, D, H, W)."""
    return (fractions.sum(1, keepdim=True) > 0).float()


def softened(painted: Tensor, fractions: Tensor, softness: float) -> Tensor:
    """``painted`` (B, C, D, H, W), 0 where ``fractions`` (B, L, D, H, W) are, blurred within the outline of all labels.

    The outline itself stays sharp. ``softness``: the standard deviation of the Gaussian in voxels; 0 changes nothing.
    """
    if softness <= 0:
        return painted
    covered = fractions.sum(1, keepdim=True)
    weights = [math.exp(-((away / softness) ** 2) / 2) for away in range(math.ceil(3 * softness) + 1)]
    blurred = torch.cat([painted, covered], dim=1)
    for axis, length in enumerate(blurred.shape[2:], start=2):
        sharp = blurred
        blurred = sharp.clone()
        for away, weight in list(enumerate(weights))[1:length]:
            blurred.narrow(axis, away, length - away).add_(sharp.narrow(axis, 0, length - away), alpha=weight)
            blurred.narrow(axis, 0, length - away).add_(sharp.narrow(axis, away, length - away), alpha=weight)
    return covered * blurred[:, :-1] / blurred[:, -1:].clamp_min(1e-6)


def label_means(images: Tensor, fractions: Tensor, softness: float = 0.0) -> Tensor:
    """The means (L, C) for which the image of means comes closest to the scan; NaN for a label that is not there.

    ``images`` (C, D, H, W) in [-1, 1], ``fractions`` (L, D, H, W); ``softness``: see ``Look``. By least squares, so
    that voxels on a border, which belong to two labels, do not blur them.
    """
    covered = fractions.sum(0) > 0
    fractions = softened(fractions[None], fractions[None], softness)[0]
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


def label_spreads(images: Tensor, fractions: Tensor, means: Tensor, softness: float = 0.0) -> Tensor:
    """The standard deviation (L, C) of a scan from the image of ``means`` within each label; NaN as the means are."""
    difference = (images - Look.plain(means, softness).source(fractions[None])[0]).square().flatten(1)
    shares = fractions.flatten(1)
    found = (shares @ difference.T / shares.sum(1, keepdim=True)).sqrt().clamp_min(LEAST_SPREAD)
    return torch.where(means.isnan(), means, found)


class Coder:
    """What images show beyond the image of means, as Haar bands in which every detail is about equally strong.

    ``power`` (C, BINS): the mean spectrum of what the means leave over in the training cases. Coarse differences are
    many times as strong as fine detail; divided by that, noise that is white here has the spectrum of the real thing,
    and shading over the whole brain is there at once with fine texture (Wiener's whitening filter).
    """

    def __init__(self, power: Tensor, softness: float = 0.0) -> None:
        self.power, self.softness = power, softness
        self._gains: dict[tuple[int, ...], Tensor] = {}

    def encode(self, look: Look, left: Tensor) -> Tensor:
        """Bands (B, 8 C, D/2, H/2, W/2) of ``left`` (B, C, D, H, W), see ``Look``."""
        return to_bands(filtered(left, 1 / self._amplitude(left))) / self._scales(look, left)

    def decode(self, look: Look, bands: Tensor) -> Tensor:
        """The inverse of ``encode``."""
        white = from_bands(bands * self._scales(look, bands))
        return filtered(white, self._amplitude(white))

    def measure(self, images: Tensor, fractions: Tensor) -> Look:
        """The appearance of a scan (C, D, H, W) in [-1, 1] with its label fractions (L, D, H, W)."""
        look = unscaled(images, fractions, self.softness)
        bands = self.encode(look, look.left(images[None], fractions[None]))
        covered = (to_bands(inside(fractions[None]))[:, :1] >= BANDS**0.5 / 2).float()
        energy = (bands.square() * covered).sum((0, 2, 3, 4)) / covered.sum().clamp_min(1)
        return replace(look, scales=energy.sqrt().clamp_min(LEAST_SCALE))

    def _amplitude(self, like: Tensor) -> Tensor:
        shape = tuple(like.shape[2:])
        if shape not in self._gains:
            self._gains = {shape: at_frequencies(self.power, like).sqrt()}
        return self._gains[shape]

    @staticmethod
    def _scales(look: Look, like: Tensor) -> Tensor:
        return look.scales.to(like.device)[:, None, None, None]


def unscaled(images: Tensor, fractions: Tensor, softness: float) -> Look:
    """Means and spreads of a scan (C, D, H, W) with its label fractions (L, D, H, W)."""
    means = label_means(images, fractions, softness)
    return replace(Look.plain(means, softness), spreads=label_spreads(images, fractions, means, softness))


def best_softness(cases: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The softness with which the images of means come closest to scans, of ``SOFTNESSES``."""
    left = torch.zeros(len(SOFTNESSES))
    for images, fractions in cases:
        for i, softness in enumerate(SOFTNESSES):
            look = Look.plain(label_means(images, fractions, softness), softness)
            left[i] += float(look.left(images[None], fractions[None]).square().sum())
    return SOFTNESSES[int(left.argmin())]


class Appearance(nn.Module):
    """The distribution of appearances over the training cases: a normal one, with ``FACTORS`` factors.

    Its numbers are the means (L, C), then the logarithms of the spreads (L, C) and of the scales (8 C,). ``power``: see
    ``Coder``; ``softness``: see ``Look``.
    """

    mean: Tensor
    factors: Tensor
    power: Tensor
    softness: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self._labels, self._images = config.mask_channels, config.image_channels
        size = (2 * config.mask_channels + BANDS) * config.image_channels
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("factors", torch.zeros(FACTORS, size))
        self.register_buffer("power", torch.ones(config.image_channels, BINS))
        self.register_buffer("softness", torch.zeros(()))

    def coder(self) -> Coder:
        """The coder of this spectrum."""
        return Coder(self.power.detach().float().clone(), float(self.softness))

    @torch.no_grad()
    def fit(self, cases: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take spectrum and distribution from training cases: images (C, D, H, W) and fractions (L, D, H, W).

        ``cases`` is read twice, the first of them three times.
        """
        softness = best_softness(islice(cases, SOFTNESS_CASES))
        self.softness.fill_(softness)
        power = RadialPower(self._images)
        for images, fractions in cases:
            left = unscaled(images, fractions, softness).left(images[None], fractions[None])
            power.add(left[0], inside(fractions[None]).sum())
        found = power.result()
        found[:, 0] = found[:, 1]  # the means leave nothing there
        self.power.copy_(found)
        self._fit_distribution([self.coder().measure(*case) for case in cases])

    def _fit_distribution(self, looks: list[Look]) -> None:
        rows = torch.stack(
            [torch.cat([look.means.flatten(), look.spreads.log().flatten(), look.scales.log()]) for look in looks]
        )
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
        shape = (self._labels, self._images)
        means, spreads, scales = row.split([*[shape[0] * shape[1]] * 2, BANDS * self._images])
        spreads = spreads.reshape(shape).exp()
        return Look(means.reshape(shape).clamp(-1, 1), spreads, scales.exp(), float(self.softness))

    def completed(self, look: Look) -> Look:
        """``look`` with the mean of the training cases for labels that it does not know."""
        usual = self.look()
        means = torch.where(look.means.isnan(), usual.means, look.means)
        spreads = torch.where(look.spreads.isnan(), usual.spreads, look.spreads)
        return Look(means, spreads, look.scales, usual.softness)
