"""Texture inside the outline: power by size of structures, and how much of it stands out.

An image that is too smooth, or grainy in place of structured, has the right mean intensities and the right structures
at 30 mm; what it lacks is power at some millimeters, and the rare strong edges that vessels, sulci and the tumor's rim
make (kurtosis), where noise has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...labels.morphology import distance_to
from ...synthesis.case import INTENSITY_SCALE

# Wavelengths in mm: octaves, and what is lost first where images are made on larger voxels and interpolated.
BANDS = {
    "power_2_4": (2.0, 4.0),
    "power_4_8": (4.0, 8.0),
    "power_8_16": (8.0, 16.0),
    "power_16_32": (16.0, 32.0),
    "power_32_64": (32.0, 64.0),
    "power_2.5_4": (2.5, 4.0),
}
KURTOSIS_BAND = (4.0 / math.sqrt(2), 4.0 * math.sqrt(2))  # an octave around 4 mm
TAPER = 10.0  # mm, from the outline to where the window is 1
FILE_SCALE = INTENSITY_SCALE / 2  # from [-1, 1] to the files' intensities


def window(within: Tensor, spacing: Sequence[float]) -> Tensor:
    """A smooth window (D, H, W) of an outline: 0 at its border, 1 from ``TAPER`` mm on, half a cosine between.

    ``spacing``: mm along D, H and W.
    """
    outside = F.pad(~within, (1,) * 6, value=True).numpy()  # the border of the volume is one of the outline
    depth = torch.from_numpy(distance_to(outside, tuple(spacing)))[1:-1, 1:-1, 1:-1]  # type: ignore[arg-type]
    return torch.sin(depth.clamp(max=TAPER) / TAPER * (math.pi / 2)).square()


def texture(image: Tensor, weight: Tensor, spacing: Sequence[float]) -> dict[str, float]:
    """Power in each of ``BANDS`` and ``kurtosis`` of an image (D, H, W) in [-1, 1] under the window ``weight``.

    Power: mean square over the window of what the band has of the image less its mean (by Parseval's theorem), in the
    files' intensities from 0 to 1000; bands are shells of spatial frequency. Kurtosis: excess (0: Gaussian) of the
    octave around 4 mm where the window is 1. What voxels of this size cannot show is left out.
    """
    mean = (image * weight).sum() / weight.sum()
    transform = torch.fft.rfftn((image - mean) * weight * FILE_SCALE)
    power = transform.abs().square()
    power[..., 1 : (image.shape[-1] + 1) // 2] *= 2  # rfftn leaves out the mirrored half
    radius = _radius(image.shape, spacing).to(image.device)
    shown = {name: band for name, band in BANDS.items() if band[0] > 1.999 * max(spacing)}
    norm = float(weight.square().sum()) * image.numel()
    found = {name: float(power[_within(radius, band)].sum()) / norm for name, band in shown.items()}
    deep = weight > 0.999
    if max(spacing) < 2.001 and bool(deep.any()):
        found["kurtosis"] = excess_kurtosis(
            torch.fft.irfftn(transform * _within(radius, KURTOSIS_BAND), image.shape)[deep]
        )
    return found


def excess_kurtosis(values: Tensor) -> float:
    """Fourth moment over the squared variance, less 3; 0 where all values are equal."""
    squares = (values - values.mean()).double().square()
    return float(squares.square().mean() / squares.mean().square()) - 3 if bool(squares.any()) else 0.0


def _radius(shape: Sequence[int], spacing: Sequence[float]) -> Tensor:
    """Spatial frequency (1/mm) of each element of ``rfftn``."""
    axes = [torch.fft.fftfreq(n, mm) for n, mm in zip(shape[:2], spacing[:2], strict=True)]
    axes.append(torch.fft.rfftfreq(shape[2], spacing[2]))
    return torch.stack(torch.meshgrid(*(axis.square() for axis in axes), indexing="ij")).sum(0).sqrt()


def _within(radius: Tensor, band: tuple[float, float]) -> Tensor:
    short, long = band
    return (radius > 1 / long) & (radius <= 1 / short)
