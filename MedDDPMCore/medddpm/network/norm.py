"""GroupNorm followed by SiLU, with a backward pass that is not the bottleneck of training on a CPU.

torch's own ``native_group_norm_backward`` is slow on bf16 channels-last tensors, the more so the larger the volume; the
formulas below need a handful of vectorized passes instead. ``python -m benchmarks cpu`` measures both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        z = torch.addcmul(_broadcast(bias - mean_c * scale, x), x, _broadcast(scale, x))
        dz = torch.ops.aten.silu_backward(grad, z)
        sum_dz = _channel_sum(dz)
        # sum of dz * xhat over the voxels of a channel, from the raw moments of dz and dz * x
        sum_dz_xhat = (_channel_sum(dz * x) - mean_c * sum_dz) * rstd_c
        voxels = x[0, 0].numel() * x.shape[1] // groups
        a = _group_sum(sum_dz * weight, groups, x) / voxels
        b = _group_sum(sum_dz_xhat * weight, groups, x) / voxels
        # dx = scale dz - rstd (a + xhat b), written as scale dz + slope x + offset
        slope = -rstd_c * rstd_c * b
        offset = -rstd_c * a - mean_c * slope
        dx = torch.addcmul(_broadcast(offset, x), x, _broadcast(slope, x))
        dx = torch.addcmul(dx, dz, _broadcast(scale, x))
        return dx, sum_dz_xhat.sum(0).to(weight.dtype), sum_dz.sum(0).to(bias.dtype), None, None


def _per_channel(statistic: Tensor, x: Tensor) -> Tensor:
    """(B, groups) -> (B, C)."""
    return statistic.repeat_interleave(x.shape[1] // statistic.shape[1], dim=1)


def _group_sum(values: Tensor, groups: int, x: Tensor) -> Tensor:
    """Sum of per-channel values over each group, given back to every channel: (B, C) -> (B, C)."""
    return _per_channel(values.reshape(values.shape[0], groups, -1).sum(2), x)


def _broadcast(values: Tensor, x: Tensor) -> Tensor:
    """(B, C) -> (B, C, 1, 1, 1) in the dtype of x."""
    return values.to(x.dtype)[:, :, None, None, None]


def _channel_sum(x: Tensor) -> Tensor:
    """Sum over voxels in fp32: (B, C, D, H, W) -> (B, C)."""
    return x.sum(dim=(2, 3, 4), dtype=torch.float32)
