"""What an evaluation of a network costs, read off the network itself without computing it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .unet import UNet3D

# Tensors of the size of a stage's widest that are alive while it runs (input, normalized input, convolution output,
# skip); with the convolution's own scratch memory this fits the peaks measured in benchmarks/.
WORKING_TENSORS = 3.5


@dataclass(frozen=True)
class NetworkCost:
    """Cost of one evaluation at batch 1: ``flops`` of the convolutions, ``activation_values`` alive at the peak."""

    flops: float
    activation_values: float
    parameters: int


def network_cost(config: NetworkConfig, depth_first_shape: tuple[int, ...]) -> NetworkCost:
    """Cost on a grid of ``depth_first_shape`` (D, H, W)."""
    with torch.device("meta"):
        network = UNet3D(config)
        x = torch.empty(1, config.image_channels + config.mask_channels, *depth_first_shape)
    flops: list[float] = []
    widest: list[float] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv3d):
            flops.append(2.0 * module.weight[0].numel() * output.numel())
            widest.append(max(inputs[0].numel(), output.numel()))

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network(x, torch.zeros(1, dtype=torch.int64, device="meta"))
    skips = sum(_skip_values(config, depth_first_shape))
    parameters = sum(p.numel() for p in network.parameters())
    return NetworkCost(sum(flops), skips + WORKING_TENSORS * max(widest), parameters)


def _skip_values(config: NetworkConfig, shape: tuple[int, ...]) -> list[float]:
    """Values of every tensor that the encoder keeps for the decoder."""
    voxels = float(shape[0] * shape[1] * shape[2])
    kept = [config.base_channels * voxels]
    for level, channels in enumerate(config.level_channels):
        kept += [channels * voxels / 8**level] * config.blocks_per_level
        if level < len(config.level_channels) - 1:
            kept.append(channels * voxels / 8 ** (level + 1))
    return kept
