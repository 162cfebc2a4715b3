"""The Med-DDPM 3D U-Net (paper, Fig. 1) for any number of channels, levels, blocks and attention levels."""

from __future__ import annotations

from torch import Tensor, nn

from ..config import NetworkConfig
from .blocks import Downsample, ResidualBlock, SelfAttention, Stage, Upsample, run_stage, time_embedding
from .norm import NormSiLU
from .position import CHANNELS as POSITION_CHANNELS


def input_channels(config: NetworkConfig, bands: int = 1) -> int:
    """Channels that a U-Net sees: noisy image, mask and position."""
    position = POSITION_CHANNELS if config.position else 0
    return bands * (config.image_channels + config.mask_channels) + position


class UNet3D(nn.Module):
    """Predicts, from a noisy image with its mask concatenated, what ``ScheduleConfig.prediction`` names.

    ``bands``: channels for each channel of image and mask, where these come in wavelet bands. With ``config.position``
    the channels of ``network.position`` follow.

    ``forward(x, t)``: x (B, image + mask channels, D, H, W) with every side a multiple of ``config.divisor``; t (B,)
    integer steps 0..T-1; returns (B, image channels, D, H, W) in the dtype of ``x``.

    ``checkpointing``: in training, compute the values inside of the blocks again for the backward pass instead of
    keeping them. The gradients are the same.
    """

    def __init__(self, config: NetworkConfig, bands: int = 1) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        base, embedding = config.base_channels, config.base_channels * 4
        self.time_embed = nn.Sequential(nn.Linear(base, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        first = nn.Conv3d(input_channels(config, bands), base, 3, padding=1)
        self.input_blocks = nn.ModuleList([Stage(first)])
        skips = self._build_encoder(base)
        deepest = skips[-1]
        self.middle_block = Stage(
            self._residual(deepest, deepest), self._attention(deepest), self._residual(deepest, deepest)
        )
        self.output_blocks = nn.ModuleList()
        last = self._build_decoder(deepest, skips)
        self.out = nn.Sequential(
            NormSiLU(config.groups, last), nn.Identity(), nn.Conv3d(last, bands * config.image_channels, 3, padding=1)
        )

    def _residual(self, in_channels: int, out_channels: int) -> ResidualBlock:
        return ResidualBlock(in_channels, out_channels, self.config.base_channels * 4, self.config.groups)

    def _attention(self, channels: int) -> SelfAttention:
        return SelfAttention(channels, self.config.heads, self.config.groups)

    def _build_encoder(self, channels: int) -> list[int]:
        """Append the encoder; return the channels of every tensor that the decoder will concatenate."""
        skips = [channels]
        last_level = len(self.config.multipliers) - 1
        for level, out_channels in enumerate(self.config.level_channels):
            for _ in range(self.config.blocks_per_level):
                stage = Stage(self._residual(channels, out_channels))
                if 2**level in self.config.attention_factors:
                    stage.append(self._attention(out_channels))
                self.input_blocks.append(stage)
                channels = out_channels
                skips.append(channels)
            if level < last_level:
                self.input_blocks.append(Stage(Downsample(channels)))
                skips.append(channels)
        return skips

    def _build_decoder(self, channels: int, skips: list[int]) -> int:
        """Append the decoder (one residual block more a level than the encoder); return its last channels."""
        remaining = list(skips)
        for level, out_channels in reversed(list(enumerate(self.config.level_channels))):
            for block in range(self.config.blocks_per_level + 1):
                stage = Stage(self._residual(channels + remaining.pop(), out_channels))
                channels = out_channels
                if 2**level in self.config.attention_factors:
                    stage.append(self._attention(channels))
                if level > 0 and block == self.config.blocks_per_level:
                    stage.append(Upsample(channels))
                self.output_blocks.append(stage)
        return channels

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        dtype = next(self.time_embed.parameters()).dtype
        embedding = self.time_embed(time_embedding(t, self.config.base_channels).to(dtype))
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            x = run_stage(stage, embedding, x, recompute=self.checkpointing)
            skips.append(x)
        x = run_stage(self.middle_block, embedding, x, recompute=self.checkpointing)
        for stage in self.output_blocks:
            x = run_stage(stage, embedding, x, skips.pop(), recompute=self.checkpointing)
        return self.out(x)
