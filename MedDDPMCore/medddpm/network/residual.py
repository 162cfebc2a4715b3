"""The residual network: what a real scan shows beyond the mean intensity of each label.

With the anatomy in the condition, most of an image is known before any network: the image of the mean intensity of
each label (``appearance.source``). The network generates what is left, on the 2x2x2 blocks of one Haar level, each
band of each modality scaled to unit variance. Input and output are scaled to unit variance at every noise level, too
(the preconditioning of Karras et al. 2022, eq. 7), so that an untrained network already gives the best linear guess.
Channels are normalized voxel by voxel: nothing depends on how much of a volume is seen at once, so that training on
crops is training for whole volumes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..config import NetworkConfig
from .appearance import Appearance
from .blocks import Conv3d, Stage, time_embedding
from .spectrum import at_frequencies, filtered
from .wavelet import BANDS, from_bands

OUTSIDE = 0.2  # weight of empty space in the loss


class ResidualUNet(nn.Module):
    """Predicts the clean bands from noisy ones.

    ``forward(x, t)``: x (B, 8 C + 8 C + L, D/2, H/2, W/2), noisy bands of the residual, bands of the image of means,
    and label fractions averaged over each block, for C modalities and L labels; t (B,) integer noise levels. Returns
    the bands of the residual without noise, (B, 8 C, D/2, H/2, W/2) in the dtype of ``x``. Tell it the noise schedule
    with ``use_schedule`` before the first call. ``appearance`` is the distribution of contrasts in the training cases;
    it is part of the weights. Everything around ``body`` is computed in fp32.
    """

    alpha: Tensor
    sigma: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.body = BandUNet(config)
        self.appearance = Appearance(config)
        self.register_buffer("alpha", torch.ones(1), persistent=False)
        self.register_buffer("sigma", torch.zeros(1), persistent=False)

    def use_schedule(self, alpha: Tensor, sigma: Tensor) -> None:
        """Take over the noise schedule, (T,) each; it is not part of the weights."""
        self.alpha, self.sigma = alpha.float(), sigma.float()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        noisy, rest = x.split([BANDS * self.config.image_channels, x.shape[1] - BANDS * self.config.image_channels], 1)
        alpha, sigma, total = self._levels(t)
        seen = torch.cat([noisy / total, rest], dim=1)
        correction = self.body(seen.to(memory_format=torch.channels_last_3d), t)
        with torch.autocast(x.device.type, enabled=False):
            return alpha / total.square() * noisy + sigma / total * correction.to(x.dtype)

    def loss(self, prediction: Tensor, clean: Tensor, x: Tensor, t: Tensor, kind: str = "l2") -> Tensor:
        """Distance in units of what the linear guess leaves open at the noise level, (B,).

        ``kind``: "l1" for the mean of its magnitude, "l2" for that of its square. Coarse structure has more weight than
        fine, with the square root of its amplitude: between equal weights, which fine noise would win, and the distance
        of the images themselves, which would leave detail unlearned. Voxels outside of all labels, into which the
        filters reach a little, count less.
        """
        with torch.autocast(x.device.type, enabled=False):
            _, sigma, total = self._levels(t)
            error = from_bands((prediction.float() - clean) * total / sigma)
            weight = at_frequencies(self.appearance.power, error).sqrt().sqrt()
            error = filtered(error, weight / weight.square().mean().sqrt())
            covered = (x[:, -self.config.mask_channels :].sum(1, keepdim=True) > 0).float()
            counted = F.interpolate(OUTSIDE + (1 - OUTSIDE) * covered, scale_factor=2)
            distance = (error.abs() if kind == "l1" else error.square()) * counted
            return distance.sum((1, 2, 3, 4)) / (counted.sum((1, 2, 3, 4)) * error.shape[1])

    def _levels(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha, sigma, and the standard deviation of noisy bands, (B, 1, 1, 1, 1)."""
        alpha, sigma = (values[t].reshape(-1, 1, 1, 1, 1) for values in (self.alpha, self.sigma))
        return alpha, sigma, (alpha.square() + sigma.square()).sqrt()


class BandUNet(nn.Module):
    """The U-Net: what is to be added to the linear guess, in units of what that leaves open; begins at nothing.

    Levels have the channels of ``config.level_channels`` and ``config.blocks_per_level`` blocks each on the way down
    and up.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        self._bands, widths = BANDS * config.image_channels, config.level_channels
        embedding = 4 * config.base_channels
        self.time_embed = nn.Sequential(
            nn.Linear(config.base_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.first = Conv3d(2 * self._bands + config.mask_channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(config, width, embedding) for width in widths)
        self.down = nn.ModuleList(Conv3d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Conv3d(b, a, 1) for a, b in pairwise(widths))
        self.skip = nn.ModuleList(Conv3d(width, width, 1) for width in widths[:-1])
        self.decoder = nn.ModuleList(_blocks(config, width, embedding) for width in widths)
        self.last = nn.Sequential(VoxelNorm(widths[0]), nn.SiLU(), Conv3d(widths[0], self._bands, 3, padding=1))
        self.gain = nn.Linear(embedding, self._bands)  # a direct path for noise that is to be passed on
        for module in (self.last[2], self.gain):
            nn.init.zeros_(module.get_parameter("weight"))
            nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        dtype = self.first.weight.dtype
        embedding = self.time_embed(time_embedding(t, self.config.base_channels).to(dtype))
        seen, x = x[:, : self._bands], self.first(x.to(dtype))
        skips = []
        for level, blocks in enumerate(self.encoder):
            x = self._run(blocks, x, embedding)
            if level < len(self.down):
                skips.append(self.skip[level](x))
                x = self.down[level](x)
        for level in reversed(range(len(self.decoder))):
            if level < len(skips):
                x = F.interpolate(self.up[level](x), scale_factor=2, mode="nearest") + skips[level]
            x = self._run(self.decoder[level], x, embedding)
        return self.last(x) + self.gain(embedding)[:, :, None, None, None] * seen.to(dtype)

    def _run(self, blocks: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(blocks, x, embedding, use_reentrant=False)
        return blocks(x, embedding)


class VoxelNorm(nn.LayerNorm):
    """Normalizes the channels of each voxel (layer normalization, Ba et al. 2016). x: (B, C, D, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class Block(nn.Module):
    """norm - SiLU - conv, norm scaled and shifted by the noise level - SiLU - conv, added to the input."""

    leveled = True

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = VoxelNorm(channels), VoxelNorm(channels)
        self.conv1 = Conv3d(channels, channels, 3, padding=1)
        self.conv2 = Conv3d(channels, channels, 3, padding=1)
        self.level = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.level(embedding)[:, :, None, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))


def _blocks(config: NetworkConfig, width: int, embedding: int) -> Stage:
    return Stage(*(Block(width, embedding) for _ in range(config.blocks_per_level)))
