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
from torch.nn import functional as F

WAVES = (1, 2, 4)  # quarter waves between the center and the rim
AXES = 3
CHANNELS = AXES * 2 * len(WAVES)
RADIUS = 5**0.5  # of a solid ellipsoid, in standard deviations of its voxels along an axis


def coverage(mask: Tensor) -> Tensor:
    """(B, L, D, H, W) label fractions -> (B, 1, D, H, W), how much of each voxel they cover, 0 to 1."""
    return mask.float().sum(1, keepdim=True).clamp(0, 1)


def place_in_head(mask: Tensor) -> Tensor:
    """(B, L, D, H, W) label fractions of a whole head -> (B, 3, D, H, W), every voxel's place along the three axes.

    0 is the center of what the mask covers, 1 and -1 the rim of the ellipsoid with the same moments.
    """
    covered = coverage(mask)
    sides = covered.shape[2:]
    places = []
    for axis, side in enumerate(sides):
        others = [2 + other for other in range(AXES) if other != axis]
        shape = [len(covered), 1, 1, 1, 1]
        shape[2 + axis] = side
        places.append(_place(covered.sum([1, *others])).reshape(shape).expand(-1, -1, *sides))
    return torch.cat(places, dim=1)


def position_channels(place: Tensor, mask: Tensor, factor: int = 1) -> Tensor:
    """What the network sees, (B, CHANNELS, D/factor, H/factor, W/factor), -1 to 1 and 0 where the mask covers nothing.

    ``place``: as ``place_in_head`` tells it, or a crop of that; ``mask``: the label fractions there.
    """
    angle = F.avg_pool3d(place.float(), factor) * (math.pi / 2)
    waves = [wave for k in WAVES for wave in (torch.sin(k * angle), torch.cos(k * angle))]
    return torch.cat(waves, dim=1) * F.avg_pool3d(coverage(mask), factor)


def _place(share: Tensor) -> Tensor:
    """(B, side): how much is covered at each coordinate of an axis -> the coordinate from the center, in radii."""
    at = torch.arange(share.shape[1], dtype=torch.float32, device=share.device)
    share = share / share.sum(1, keepdim=True).clamp_min(1e-6)
    center = (share * at).sum(1, keepdim=True)
    spread = (share * (at - center).square()).sum(1, keepdim=True).sqrt()
    return (at - center) / (RADIUS * spread).clamp_min(1)
