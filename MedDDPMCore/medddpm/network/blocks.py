"""Building blocks of the 3D U-Net: residual block, self-attention, resampling, time embedding.

Parameter names follow the published checkpoints (``in_layers``, ``emb_layers``, ``op`` ...), so that their tensors fit
without renaming. Tensors are (B, C, D, H, W) unless said otherwise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .norm import NormSiLU

# Nichol & Dhariwal's embedding ends at 1/10000; the published Med-DDPM code divides by 1000.
MAX_PERIOD = 1000.0


def time_embedding(t: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding of integer steps ``t`` (B,) as float32 (B, channels): cosines first, then sines."""
    half = channels // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies[None]
    embedding = torch.cat([angles.cos(), angles.sin()], dim=1)
    return F.pad(embedding, (0, channels % 2))


class _RightGradients(nn.Module):
    """A convolution whose gradients are right on small volumes, too.

    On a CPU, oneDNN's gradient of a bf16 kernel takes in memory that nobody has written where a side of the volume is
    one or two voxels (torch 2.13). Such volumes cost nothing, and are computed in fp32.
    """

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        small = min(x.shape[2:]) <= 2 and x.device.type == "cpu"
        if not (small and torch.is_grad_enabled() and self.weight.dtype == torch.float32):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class Conv3d(_RightGradients, nn.Conv3d):
    """nn.Conv3d, see ``_RightGradients``."""


class ConvTranspose3d(_RightGradients, nn.ConvTranspose3d):  # type: ignore[misc]
    """nn.ConvTranspose3d, see ``_RightGradients``."""


class ResidualBlock(nn.Module):
    """norm - SiLU - conv, plus time embedding, norm - SiLU - conv, plus a 1x1x1 conv on the skip if channels change."""

    leveled = True

    def __init__(self, in_channels: int, out_channels: int, embedding_channels: int, groups: int) -> None:
        super().__init__()
        # Identity keeps the published indices: 0 norm, 1 SiLU, 2 conv; 0 norm, 1 SiLU, 2 dropout(0), 3 conv.
        self.in_layers = nn.Sequential(
            NormSiLU(groups, in_channels), nn.Identity(), Conv3d(in_channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding_channels, out_channels))
        self.out_layers = nn.Sequential(
            NormSiLU(groups, out_channels),
            nn.Identity(),
            nn.Identity(),
            Conv3d(out_channels, out_channels, 3, padding=1),
        )
        self.skip_connection: nn.Module = (
            nn.Identity() if in_channels == out_channels else Conv3d(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers(x)
        shift = self.emb_layers(embedding).to(h.dtype)[:, :, None, None, None]
        h = self.out_layers(h.add_(shift))  # in place: no convolution needs its own output for its gradient
        return h.add_(self.skip_connection(x))


class SelfAttention(nn.Module):
    """Self-attention over all voxels with a residual connection; heads are split before q, k and v."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, channels * 3, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, *spatial = x.shape
        sequence = self.norm(x).reshape(b, c, -1)
        qkv = self.qkv(sequence).reshape(b, self.heads, 3, c // self.heads, -1).transpose(-1, -2)
        # Contiguous, or torch falls back on a kernel that holds all pairs of voxels in memory.
        q, k, v = (part.contiguous() for part in qkv.unbind(dim=2))
        attended = F.scaled_dot_product_attention(q, k, v)
        attended = attended.transpose(-1, -2).reshape(b, c, -1)
        return x + self.proj_out(attended).reshape(b, c, *spatial)


class Downsample(nn.Module):
    """3x3x3 conv of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = Conv3d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Trilinear x2 (align_corners false), then a 3x3x3 conv."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False))


class Stage(nn.Sequential):
    """Runs its modules in order and hands the time embedding to those among them that are ``leveled``."""

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:  # type: ignore[override]
        for module in self:
            x = module(x, embedding) if getattr(module, "leveled", False) else module(x)
        return x


def run_stage(stage: nn.Module, embedding: Tensor | None, *inputs: Tensor, recompute: bool) -> Tensor:
    """A stage on its inputs, one after the other in the channels.

    ``recompute``: in training, its inner values are computed again for the backward pass instead of being kept.
    """

    def compute(embedding: Tensor | None, *inputs: Tensor) -> Tensor:
        return stage(torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0], embedding)

    if recompute and torch.is_grad_enabled():
        return checkpoint(compute, embedding, *inputs, use_reentrant=False)
    return compute(embedding, *inputs)
