"""How strong detail of each size is: radial power spectra, and filters made of them."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 32  # of spatial frequency, from 0 to the corner of the spectrum, evenly by its square root
MAX_FREQUENCY = 0.75**0.5  # cycles per voxel: 0.5 along each axis
MIN_POWER = 1e-7
AXES = (-3, -2, -1)  # of space


def at_frequencies(power: Tensor, like: Tensor) -> Tensor:
    """``power`` (C, BINS) at the frequencies of ``torch.fft.rfftn`` of ``like``, (1, C, D, H, W/2 + 1)."""
    place = bin_places(like)
    low = place.long().clamp(max=BINS - 2)
    share = place - low
    power = power.float()
    return (power[:, low] * (1 - share) + power[:, low + 1] * share)[None]


def filtered(image: Tensor, gain: Tensor) -> Tensor:
    """``image`` (B, C, D, H, W) with every frequency multiplied by ``gain`` (see ``at_frequencies``)."""
    return torch.fft.irfftn(torch.fft.rfftn(image, dim=AXES) * gain, s=image.shape[-3:], dim=AXES)


class RadialPower:
    """The mean power spectrum of images (C, D, H, W), each divided by how many voxels of it count."""

    def __init__(self, channels: int) -> None:
        self._energy, self._counts = torch.zeros(channels, BINS), torch.zeros(BINS)

    def add(self, image: Tensor, voxels: Tensor) -> None:
        """One more image (C, D, H, W), 0 where nothing counts."""
        found = torch.fft.fftn(image, dim=AXES).abs().square() / voxels
        places = bin_places(image, half=False).round().long().flatten()
        self._energy.index_add_(1, places, found.flatten(1))
        self._counts.index_add_(0, places, torch.ones(len(places)))

    def result(self) -> Tensor:
        """The power (C, BINS) per voxel and frequency; of bins without a frequency that of the next one."""
        energy, counts = self._energy.clone(), self._counts.clone()
        for i in reversed(range(BINS - 1)):  # between the lowest frequencies of a small grid there are none
            if counts[i] == 0:
                energy[:, i], counts[i] = energy[:, i + 1], counts[i + 1]
        return (energy / counts.clamp_min(1)).clamp_min(MIN_POWER)


def bin_places(image: Tensor, half: bool = True) -> Tensor:
    """Where each frequency lies among the bins, from 0 to BINS - 1."""
    sides = image.shape[-3:]
    last = torch.fft.rfftfreq(sides[2]) if half else torch.fft.fftfreq(sides[2])
    z, y, x = torch.meshgrid(torch.fft.fftfreq(sides[0]), torch.fft.fftfreq(sides[1]), last, indexing="ij")
    frequency = (z**2 + y**2 + x**2).sqrt() / MAX_FREQUENCY
    return (frequency.sqrt() * (BINS - 1)).clamp(max=BINS - 1).to(image.device)
