"""The 3D U-Net that segments tumors (Falk et al. 2019): four halvings, two convolutions a level.

Modules, parameter names and results are those of ``monai.networks.nets.BasicUNet``, so that weights fit both; this one
needs torch alone, since images are also verified where MONAI is not installed. Tensors are (B, C, D, H, W).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import Conv3d, ConvTranspose3d

LEVELS = 5


class SegmentationUNet(nn.Module):
    """Logits (B, ``regions``, D, H, W) for images (B, ``modalities``, D, H, W) of any size from 16 voxels a side.

    ``channels``: of the first level; every further one has twice as many.
    """

    def __init__(self, modalities: int, regions: int, channels: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(LEVELS)]
        self.conv_0 = _two_convs(modalities, channels)
        for level in range(1, LEVELS):
            pooled = OrderedDict(max_pooling=nn.MaxPool3d(2), convs=_two_convs(widths[level - 1], widths[level]))
            self.add_module(f"down_{level}", nn.Sequential(pooled))
        for level in range(LEVELS - 1, 0, -1):
            kept = widths[level] if level == 1 else widths[level] // 2
            self.add_module(f"upcat_{level}", _Up(widths[level], kept, widths[level - 1]))
        self.final_conv = Conv3d(channels, regions, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        skips = [self.conv_0(x)]
        for level in range(1, LEVELS):
            skips.append(getattr(self, f"down_{level}")(skips[-1]))
        x = skips.pop()
        for level in range(LEVELS - 1, 0, -1):
            x = getattr(self, f"upcat_{level}")(x, skips.pop())
        return self.final_conv(x)  # type: ignore[no-any-return]


class _Up(nn.Module):
    """Upsampled to the size of the skip, which comes first, and two convolutions."""

    def __init__(self, channels: int, kept: int, wanted: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(OrderedDict(deconv=ConvTranspose3d(channels, kept, 2, 2)))
        self.convs = _two_convs(wanted + kept, wanted)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.upsample(x)
        missing = [side - own for side, own in zip(skip.shape[:1:-1], x.shape[:1:-1], strict=True)]  # odd sides
        x = F.pad(x, [n for side in missing for n in (0, side)], "replicate")
        return self.convs(torch.cat([skip, x], dim=1))  # type: ignore[no-any-return]


def _two_convs(channels: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv_0=_conv(channels, wanted), conv_1=_conv(wanted, wanted)))


def _conv(channels: int, wanted: int) -> nn.Sequential:
    act = OrderedDict(N=nn.InstanceNorm3d(wanted, affine=True), A=nn.LeakyReLU(0.1, inplace=True))
    return nn.Sequential(OrderedDict(conv=Conv3d(channels, wanted, 3, padding=1), adn=nn.Sequential(act)))
