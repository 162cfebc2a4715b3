"""The compact network: a U-Net on wavelet bands at half the resolution, around the best linear denoiser.

A U-Net that sees voxels has to learn first what is known beforehand: which intensities a label has on average, how
strong detail of each size is, and so how much of what it sees at a noise level can only be noise. Here that is
computed. From the training data come the mean of each label and the power spectrum of what is left within the labels;
for an image with these moments the best linear estimate of x0 is known (Wiener's filter). The U-Net corrects it, with
input and output scaled to unit variance at every noise level and frequency (the preconditioning of Karras et al. 2022,
eq. 7, for each frequency in place of the whole image). It works on the 2x2x2 blocks of one Haar level, so that a level
of as many channels costs an eighth.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .appearance import BACKGROUND, inside
from .atlas import NODES, fitted_atlas, looked_up
from .position import place_in_head, position_channels
from .spectrum import AXES, BINS, RadialPower, at_frequencies
from .unet import UNet3D
from .wavelet import BANDS, from_bands, to_bands


class CompactUNet(nn.Module):
    """Predicts x0 from a noisy image with its mask (fractions from 0 to 1) concatenated, as ``UNet3D`` does.

    With ``config.position`` the network knows where in the head it is (see ``network.position``). In a crop it cannot
    find that out; there, the three channels of ``place_in_head`` of the whole head follow the mask.

    Tell it the noise schedule with ``use_schedule`` before the first call. ``label_means`` (labels + 1, image channels)
    has the mean intensity of each label, background last; ``power`` (image channels, BINS) the variance per voxel and
    frequency of what is left within the labels; outside of them nothing is. With ``config.position`` the mean differs
    from place to place: ``atlas`` (see ``network.atlas``) is added to the label of which ``atlas_share`` (labels,) is
    1, the one that covers most. All are part of the weights; ``fit`` takes them from training data. Everything around
    ``body`` is computed in fp32: at low noise levels it is small differences that count.
    """

    alpha: Tensor
    sigma: Tensor
    label_means: Tensor
    power: Tensor
    atlas: Tensor
    atlas_share: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.body = UNet3D(config, BANDS)
        self.register_buffer("alpha", torch.ones(1), persistent=False)
        self.register_buffer("sigma", torch.zeros(1), persistent=False)
        self.register_buffer("label_means", torch.full((config.mask_channels + 1, config.image_channels), BACKGROUND))
        self.register_buffer("power", torch.ones(config.image_channels, BINS))
        if config.position:
            self.register_buffer("atlas", torch.zeros(1, config.image_channels, NODES, NODES, NODES))
            self.register_buffer("atlas_share", torch.zeros(config.mask_channels))
        for parameter in self.body.out[2].parameters():  # begin as the linear denoiser
            nn.init.zeros_(parameter)

    def use_schedule(self, alpha: Tensor, sigma: Tensor) -> None:
        """Take over the noise schedule, (T,) each; it is not part of the weights."""
        self.alpha = alpha.float()
        self.sigma = sigma.float()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            image, mask, place = self._parts(x.float())
            mean, covered = self.expected(mask, place), inside(mask)
            alpha, sigma, power = self._at(self.alpha, t), self._at(self.sigma, t), self.spectrum(image)
            total = alpha**2 * power + sigma**2
            noisy = torch.fft.rfftn(covered * (image - alpha * mean), dim=AXES)
            white = covered * _back(noisy * total.rsqrt(), image)
            seen = [to_bands(white), to_bands(mask) / 2]
            if self.config.position:
                seen.append(position_channels(place, mask, factor=2))
        dtype = next(self.body.parameters()).dtype
        joined = torch.cat(seen, dim=1).to(dtype).contiguous(memory_format=torch.channels_last_3d)
        correction = self.body(joined, t)
        with torch.autocast(x.device.type, enabled=False):
            own = torch.fft.rfftn(covered * from_bands(correction.float()), dim=AXES)
            clean = _back(noisy * (alpha * power / total) + own * self._open(power, alpha, sigma), image)
            return (mean + covered * clean).to(x.dtype)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, mask, and the place of every voxel, which has to be told in a crop only."""
        known = [self.config.image_channels, self.config.mask_channels]
        image, mask, place = x.split([*known, x.shape[1] - sum(known)], dim=1)
        if self.config.position and not place.shape[1]:
            place = place_in_head(mask)
        return image, mask, place

    def expected(self, mask: Tensor, place: Tensor | None = None) -> Tensor:
        """The image that the mask alone tells: the mean intensity of what covers a voxel, (B, C, D, H, W).

        ``place``: that of a crop; left out, that of a whole head.
        """
        shares = torch.cat([mask, 1 - mask.sum(1, keepdim=True)], dim=1)
        means = torch.einsum("bl...,lc->bc...", shares, self.label_means.float())
        if not self.config.position:
            return means
        place = place_in_head(mask) if place is None else place
        return means + self._atlas_weight(mask) * looked_up(self.atlas.float(), place)

    def _atlas_weight(self, mask: Tensor) -> Tensor:
        return torch.einsum("bl...,l->b...", mask, self.atlas_share.float())[:, None]

    def spectrum(self, image: Tensor) -> Tensor:
        """``power`` at the frequencies of ``torch.fft.rfftn`` of an image of this shape, (1, C, D, H, W/2 + 1)."""
        return at_frequencies(self.power, image)

    def loss(self, prediction: Tensor, x0: Tensor, mask: Tensor, t: Tensor, kind: str = "l1") -> Tensor:
        """Distance within the labels, in units of what the linear estimate leaves open at each frequency, (B,).

        ``kind``: "l1" for the mean of its magnitude, "l2" for that of its square.

        Coarse structure has more weight than fine, with the square root of its amplitude: between equal weights, which
        fine noise would win, and the distance of the images themselves, which would leave detail unlearned.
        """
        with torch.autocast(x0.device.type, enabled=False):
            covered, power = inside(mask.float()), self.spectrum(x0)
            weight = (power / power.mean()).sqrt().sqrt()
            error = torch.fft.rfftn(covered * (prediction.float() - x0), dim=AXES)
            scaled = _back(error * weight / self._open(power, self._at(self.alpha, t), self._at(self.sigma, t)), x0)
            distance = scaled.abs() if kind == "l1" else scaled.square()
            voxels = covered.sum((1, 2, 3, 4)) * x0.shape[1]
            return (covered * distance).sum((1, 2, 3, 4)) / voxels.clamp_min(1)

    @torch.no_grad()
    def fit(self, cases: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the moments from training cases: images (C, D, H, W) and mask fractions (L, D, H, W); read often."""
        totals, weights = torch.zeros_like(self.label_means), torch.zeros(len(self.label_means))
        for image, mask in cases:
            totals[:-1] += torch.einsum("lxyz,cxyz->lc", mask.float(), image.float())
            weights[:-1] += mask.float().sum((1, 2, 3))
        self.label_means[:-1] = totals[:-1] / weights[:-1, None].clamp_min(1)
        if self.config.position:
            self._fit_atlas(cases, int(weights[:-1].argmax()))
        power = RadialPower(len(self.power))
        for image, mask in cases:
            fractions = mask.float()[None]
            left = inside(fractions) * (image.float()[None] - self.expected(fractions))
            power.add(left[0], inside(fractions).square().sum())
        self.power.copy_(power.result())

    def _fit_atlas(self, cases: Iterable[tuple[Tensor, Tensor]], label: int) -> None:
        self.atlas.zero_()
        self.atlas_share.zero_()[label] = 1

        def residuals() -> Iterable[tuple[Tensor, Tensor, Tensor]]:
            for image, mask in cases:
                fractions = mask.float()[None]
                left = image.float() - self.expected(fractions)[0]
                yield left, self._atlas_weight(fractions)[0], place_in_head(fractions)[0]

        self.atlas.copy_(fitted_atlas(residuals()))

    @staticmethod
    def _open(power: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Standard deviation of x0 that the linear estimate leaves open."""
        return sigma * (power / (alpha**2 * power + sigma**2)).sqrt()

    @staticmethod
    def _at(values: Tensor, t: Tensor) -> Tensor:
        return values[t].reshape(-1, 1, 1, 1, 1)


def _back(spectrum: Tensor, like: Tensor) -> Tensor:
    return torch.fft.irfftn(spectrum, s=like.shape[-3:], dim=AXES)
