"""Where in the head a voxel lies, as input channels that follow from the mask alone.

A convolution does not know where it is. Anatomy does: ventricles lie in the middle, cortex along the rim. So the place
within what the mask covers is told to the network as sines and cosines of three wavelengths along each axis (Tancik et
al. 2020, section 5, positional encoding). Center and extent come from the mask's moments, not from its bounding box,
which a single stray voxel would move.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAVES = (1, 2, 4)  # quarter waves between the center and the rim
CHANNELS = 3 * 2 * len(WAVES)
RADIUS = 5**0.5  # of a solid ellipsoid, in standard deviations of its voxels along an axis


def position_channels(coverage: Tensor, factor: int = 1) -> Tensor:
    """(B, 1, D, H, W), 0 to 1 where the mask covers a voxel -> (B, CHANNELS, D/factor, H/factor, W/factor), -1 to 1.

    Along each axis 0 is the center of what is covered and 1 the rim of the ellipsoid with the same moments. All is 0
    where nothing is covered.
    """
    sides = coverage.shape[2:]
    channels = []
    for axis, side in enumerate(sides):
        others = [2 + other for other in range(3) if other != axis]
        place = _place(coverage.float().sum([1, *others]), side)
        place = place.reshape(len(place), -1, factor).mean(2)
        shape = [len(place), 1, 1, 1, 1]
        shape[2 + axis] = place.shape[1]
        angle = place.reshape(shape) * (math.pi / 2)
        for wave in WAVES:
            channels += [torch.sin(wave * angle), torch.cos(wave * angle)]
    small = [side // factor for side in sides]
    inside = torch.nn.functional.avg_pool3d(coverage.float(), factor)
    return torch.cat([channel.expand(-1, -1, *small) for channel in channels], dim=1) * inside


def _place(share: Tensor, side: int) -> Tensor:
    """(B, side): how much is covered at each coordinate of an axis -> the coordinate from the center, in radii."""
    at = torch.arange(side, dtype=torch.float32, device=share.device)
    share = share / share.sum(1, keepdim=True).clamp_min(1e-6)
    center = (share * at).sum(1, keepdim=True)
    spread = (share * (at - center).square()).sum(1, keepdim=True).sqrt()
    return (at - center) / (RADIUS * spread).clamp_min(1)
