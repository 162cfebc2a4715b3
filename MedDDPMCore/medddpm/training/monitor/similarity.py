"""MS-SSIM of volumes on grids of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError

WINDOW = 11
SIGMA = 1.5  # voxels, of the Gaussian window
# Weights of the five scales (Wang et al. 2003, section 3.2), finest first.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
DATA_RANGE = 2.0
C1, C2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2


@dataclass(frozen=True)
class Similarity:
    """MS-SSIM of two volumes, and the ``lowest`` of the terms that it multiplies, over scales and channels.

    A term is the mean of contrast times structure at a scale, at the coarsest one times luminance. Where images are
    opposite it is negative, and a power of it is not defined: the MS-SSIM of that channel counts as 0, as in MONAI.
    """

    value: float
    lowest: float


def scales(shape: Sequence[int]) -> int:
    """How many of the five scales have room for the window. Raises InputError where none has.

    Scale n is the grid halved n - 1 times; MONAI asks for a side of the window times (n - 1)^2 instead. Both must hold.
    """
    fitting = [n for n in range(1, 6) if min(shape) // max(2 ** (n - 1), (n - 1) ** 2) >= WINDOW]
    if not fitting:
        raise InputError(f"MS-SSIM needs at least {WINDOW} voxels along every axis; the grid is {tuple(shape)}.")
    return max(fitting)


def ms_ssim(a: Tensor, b: Tensor) -> Similarity:
    """MS-SSIM of two volumes (1, C, D, H, W) in [-1, 1], mean over channels, over as many scales as fit the grid.

    Wang et al. 2003, eq. 7, with a Gaussian window. The weights of the scales that fit are scaled to sum to 1. Equals
    MONAI's ``MultiScaleSSIMMetric``, at a fraction of its time: the window is applied axis by axis.
    """
    parts = [_of_channel(one, other) for one, other in zip(a[0].float(), b[0].float(), strict=True)]
    return Similarity(fmean(part.value for part in parts), min(part.lowest for part in parts))


def _of_channel(a: Tensor, b: Tensor) -> Similarity:
    used = WEIGHTS[: scales(a.shape)]
    found = []
    for scale in range(len(used)):
        found.append(float(_terms(a, b, luminance=scale == len(used) - 1).mean()))
        a, b = (F.avg_pool3d(volume[None], 2)[0] for volume in (a, b))
    powers = (max(0.0, term) ** (weight / sum(used)) for term, weight in zip(found, used, strict=True))
    return Similarity(math.prod(powers), min(found))


def _terms(a: Tensor, b: Tensor, luminance: bool) -> Tensor:
    """Contrast times structure wherever the window fits, with ``luminance`` times that (Wang et al. 2003, eq. 6)."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    terms = (2 * (_windowed(a * b) - product) + C2) / (_windowed(a * a + b * b) - squares + C2)
    return terms * (2 * product + C1) / (squares + C1) if luminance else terms


def _windowed(volume: Tensor) -> Tensor:
    """Mean under the Gaussian window wherever it fits into (D, H, W)."""
    return separable(volume, *(_band(side, volume.device) for side in volume.shape))


def separable(volume: Tensor, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """A volume (D, H, W) with a matrix (out, in) applied along each axis; faster than a convolution."""
    across = y @ (volume @ x.T)
    return (z @ across.flatten(1)).view(-1, *across.shape[1:])


def _band(side: int, device: torch.device) -> Tensor:
    """Matrix (side - WINDOW + 1, side) that takes a line of voxels to its windowed means."""
    offset = torch.arange(side, device=device) - torch.arange(side - WINDOW + 1, device=device)[:, None]
    weights = torch.exp(-0.5 * ((offset - WINDOW // 2) / SIGMA) ** 2)
    weights[(offset < 0) | (offset >= WINDOW)] = 0
    return weights / weights.sum(1, keepdim=True)
