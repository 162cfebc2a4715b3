"""GroupNorm followed by SiLU, with a backward pass that is not the bottleneck of training on a CPU.

torch's own ``native_group_norm_backward`` is slow on bf16 channels-last tensors, the more so the larger the volume; the
formulas below need a handful of vectorized passes instead. ``python -m benchmarks cpu`` measures both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIECE = 2**18  # values that are worked on at a time: half a megabyte in bf16


class NormSiLU(nn.GroupNorm):
    """GroupNorm (eps 1e-5) followed by SiLU; statistics in fp32 for any input dtype. x: (B, C, D, H, W).

    Without gradients SiLU overwrites the normalized tensor: the extra copy costs as much as the activation itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.device.type == "cpu":
            return _NormSiLUFunction.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return F.silu(super().forward(x), inplace=not torch.is_grad_enabled())


class _NormSiLUFunction(torch.autograd.Function):
    """y = silu(z), z = gamma (x - mean_g) rstd_g + beta; only x and the group statistics are kept for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        b, c = x.shape[:2]
        normalized, mean, rstd = torch.native_group_norm(
            x, weight.to(x.dtype), bias.to(x.dtype), b, c, x[0, 0].numel(), groups, eps
        )
        ctx.save_for_backward(x, weight, bias, mean.float(), rstd.float())
        return F.silu(normalized, inplace=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        x, weight, bias, mean, rstd = ctx.saved_tensors
        groups = mean.shape[1]
        mean_c, rstd_c = _per_channel(mean, x), _per_channel(rstd, x)
        scale = rstd_c * weight
        voxels_x, dx = _voxels(x), torch.empty_like(x, memory_format=torch.channels_last_3d)
        voxels_dz = _voxels(dx)  # dz is kept where dx will be
        sum_dz, raw = _through_silu(voxels_x, _voxels(grad), scale, bias - mean_c * scale, voxels_dz)
        # sum of dz * xhat over the voxels of a channel, from the raw moments of dz and dz * x
        sum_dz_xhat = (raw - mean_c * sum_dz) * rstd_c
        count = voxels_x.shape[1] * x.shape[1] // groups
        a = _group_sum(sum_dz * weight, groups, x) / count
        b = _group_sum(sum_dz_xhat * weight, groups, x) / count
        # dx = scale dz - rstd (a + xhat b), written as scale dz + slope x + offset
        slope = -rstd_c * rstd_c * b
        _combine(voxels_x, scale, slope, -rstd_c * a - mean_c * slope, voxels_dz)
        return dx, sum_dz_xhat.sum(0).to(weight.dtype), sum_dz.sum(0).to(bias.dtype), None, None


def _through_silu(x: Tensor, grad: Tensor, scale: Tensor, offset: Tensor, dz: Tensor) -> tuple[Tensor, Tensor]:
    """Write the gradient at z = scale x + offset to ``dz``; sums of dz and of dz * x over the voxels, (B, C) fp32.

    All of one piece of the volume before the next, so that it is still in the processor's cache.
    """
    sums = torch.zeros(2, *scale.shape)
    for b in range(len(x)):
        factor, start = scale[b].to(x.dtype), offset[b].to(x.dtype)
        for part_x, part_grad, part_dz in zip(_pieces(x[b]), _pieces(grad[b]), _pieces(dz[b]), strict=True):
            torch.ops.aten.silu_backward(part_grad, torch.addcmul(start, part_x, factor), grad_input=part_dz)
            sums[0, b] += part_dz.sum(0, dtype=torch.float32)
            sums[1, b] += (part_dz * part_x).sum(0, dtype=torch.float32)
    return sums[0], sums[1]


def _combine(x: Tensor, scale: Tensor, slope: Tensor, offset: Tensor, dz: Tensor) -> None:
    """Overwrite ``dz`` by scale dz + slope x + offset."""
    for b in range(len(x)):
        factor, tilt, start = (values[b].to(x.dtype) for values in (scale, slope, offset))
        for part_x, part_dz in zip(_pieces(x[b]), _pieces(dz[b]), strict=True):
            torch.addcmul(torch.addcmul(start, part_x, tilt), part_dz, factor, out=part_dz)


def _voxels(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B, voxels, C), a view where channels are last in memory."""
    return x.contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1).flatten(1, 3)


def _pieces(voxels: Tensor) -> tuple[Tensor, ...]:
    """(voxels, C) in pieces of ``PIECE`` values."""
    return voxels.split(max(1, PIECE // voxels.shape[1]))


def _per_channel(statistic: Tensor, x: Tensor) -> Tensor:
    """(B, groups) -> (B, C)."""
    return statistic.repeat_interleave(x.shape[1] // statistic.shape[1], dim=1)


def _group_sum(values: Tensor, groups: int, x: Tensor) -> Tensor:
    """Sum of per-channel values over each group, given back to every channel: (B, C) -> (B, C)."""
    return _per_channel(values.reshape(values.shape[0], groups, -1).sum(2), x)
