"""One level of the orthonormal 3D Haar transform: between voxels and bands at half the resolution.

Orthonormal means that white noise stays white noise of the same strength, and that a sum of squares is the same on
both sides; so a diffusion model may live on either side.
"""

from __future__ import annotations

import torch
from torch import Tensor

BANDS = 8  # of a block of 2x2x2 voxels: its mean and seven differences


def _matrix(like: Tensor) -> Tensor:
    """(8, 8): rows are bands, the first the mean times sqrt(8), columns the voxels of a block."""
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=like.dtype, device=like.device)
    return torch.kron(torch.kron(step, step), step) / BANDS**0.5


def to_bands(x: Tensor) -> Tensor:
    """(B, C, D, H, W) with even sides -> (B, 8 C, D/2, H/2, W/2); channel 8 c + b is band b of channel c."""
    b, c, d, h, w = x.shape
    blocks = x.reshape(b, c, d // 2, 2, h // 2, 2, w // 2, 2).permute(0, 2, 4, 6, 1, 3, 5, 7)
    bands = blocks.reshape(-1, BANDS) @ _matrix(x)
    return bands.reshape(b, d // 2, h // 2, w // 2, c * BANDS).permute(0, 4, 1, 2, 3)


def from_bands(bands: Tensor) -> Tensor:
    """The inverse of ``to_bands``."""
    b, c, d, h, w = bands.shape
    blocks = bands.permute(0, 2, 3, 4, 1).reshape(-1, BANDS) @ _matrix(bands)
    voxels = blocks.reshape(b, d, h, w, c // BANDS, 2, 2, 2).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return voxels.reshape(b, c // BANDS, 2 * d, 2 * h, 2 * w)
