"""MS-SSIM of volumes on grids of any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import InputError

WINDOW = 11
# Weights of the five scales (Wang et al. 2003, section 3.2), finest first.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
DATA_RANGE = 2.0


def scales(shape: Sequence[int]) -> int:
    """How many of the five scales have room for the window. Raises InputError where none has.

    Scale n is the grid halved n - 1 times; MONAI asks for a side of the window times (n - 1)^2 instead. Both must hold.
    """
    fitting = [n for n in range(1, 6) if min(shape) // max(2 ** (n - 1), (n - 1) ** 2) >= WINDOW]
    if not fitting:
        raise InputError(f"MS-SSIM needs at least {WINDOW} voxels along every axis; the grid is {tuple(shape)}.")
    return max(fitting)


def ms_ssim(a: Tensor, b: Tensor) -> float:
    """MS-SSIM of two volumes (1, C, D, H, W) in [-1, 1], mean over channels, over as many scales as fit the grid.

    The weights of the scales that fit are scaled to sum to 1.
    """
    from monai.metrics import MultiScaleSSIMMetric  # type: ignore[attr-defined]

    used = WEIGHTS[: scales(a.shape[2:])]
    weights = [weight / sum(used) for weight in used]
    metric = MultiScaleSSIMMetric(spatial_dims=3, data_range=DATA_RANGE, kernel_size=WINDOW, weights=weights)
    channels = metric(a[0, :, None].float(), b[0, :, None].float())  # one volume of one channel for each modality
    return float(torch.as_tensor(channels).mean())
