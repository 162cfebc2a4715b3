"""The networks of two GANs in 3D: generators that make an image in one pass, and the discriminators they train against.

"pix2pix" is a U-Net (Isola et al. 2017), "discogan" an encoder and decoder without skip connections (Kim et al. 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .blocks import Conv3d, ConvTranspose3d, Stage, run_stage

SLOPE = 0.2  # of LeakyReLU below 0
SPREAD = 0.02  # standard deviation of the random weights
STRIDED = 3  # layers of a discriminator that halve the resolution


class Generator(nn.Module):
    """Makes images in [-1, 1] from noise and mask in one pass; each level halves the resolution.

    ``forward(x, t)``: as ``UNet3D``; the noise level ``t`` is not looked at, since ``x`` has noise only.
    ``inputs`` and ``outputs``: channels, where they are not those of noise and mask in, and images out.
    """

    def __init__(self, config: NetworkConfig, inputs: int | None = None, outputs: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        inputs = inputs or config.image_channels + config.mask_channels
        outputs = outputs or config.image_channels
        self._skips = config.domain == "pix2pix"
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        levels = list(enumerate(zip((inputs, *config.level_channels), config.level_channels, strict=False)))
        for level, (wide, narrow) in levels:
            normalized = 0 < level < len(levels) - 1
            self.down.append(Stage(*_normalized(Conv3d(wide, narrow, 4, 2, 1), normalized), nn.LeakyReLU(SLOPE)))
        for level, (wide, narrow) in reversed(levels):
            below = narrow * (2 if self._skips and level < len(levels) - 1 else 1)
            up = ConvTranspose3d(below, wide if level else outputs, 4, 2, 1)
            self.up.append(Stage(*_normalized(up, level > 0), nn.ReLU() if level else nn.Tanh()))
        draw_weights(self)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for stage in self.down:
            x = run_stage(stage, None, x, recompute=self.checkpointing)
            skips.append(x)
        skips.pop()
        for i, stage in enumerate(self.up):
            beside = (skips.pop(),) if self._skips and i else ()
            x = run_stage(stage, None, x, *beside, recompute=self.checkpointing)
        return x


class Discriminator(nn.Sequential):
    """Tells patches (54 voxels wide with three strided layers) of real volumes (1) from made ones (0).

    (B, ``channels``, D, H, W) -> (B, 1, ...), a value for each patch.
    """

    def __init__(self, channels: int, config: NetworkConfig) -> None:
        base, strided = config.base_channels, min(STRIDED, len(config.multipliers) - 1)
        widths = [channels, *(base * 2**i for i in range(strided + 1))]
        layers: list[nn.Module] = []
        for i in range(strided):
            layers += [*_normalized(Conv3d(widths[i], widths[i + 1], 4, 2, 1), i > 0), nn.LeakyReLU(SLOPE)]
        layers += [*_normalized(Conv3d(widths[-2], widths[-1], 3, 1, 1)), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers, Conv3d(widths[-1], 1, 3, 1, 1))
        draw_weights(self)


def _normalized(convolution: Conv3d | ConvTranspose3d, wanted: bool = True) -> list[nn.Module]:
    """With instance normalization: what batch normalization is for single volumes, as both papers' authors note.

    It takes away any constant, so that the convolution adds none.
    """
    if not wanted:
        return [convolution]
    convolution.register_parameter("bias", None)
    return [convolution, nn.InstanceNorm3d(convolution.out_channels, affine=True)]


@torch.no_grad()
def draw_weights(network: nn.Module) -> None:
    """Random kernels as in both papers: normal, with a small spread."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.weight.normal_(0, SPREAD)
