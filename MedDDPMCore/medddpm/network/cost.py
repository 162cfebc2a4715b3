"""What an evaluation of a network costs, read off the network itself without computing it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import NetworkConfig
from .build import build_network
from .unet import input_channels
from .wavelet import BANDS


@dataclass(frozen=True)
class NetworkCost:
    """Cost of one evaluation at batch 1, in numbers, not bytes.

    ``flops``: operations of the convolutions; ``skip_values``: what the encoder keeps for the decoder;
    ``widest_values``: the largest input or output of a convolution.
    """

    flops: float
    skip_values: float
    widest_values: float
    parameters: int


def network_cost(config: NetworkConfig, depth_first_shape: tuple[int, ...]) -> NetworkCost:
    """Cost on a grid of ``depth_first_shape`` (D, H, W); of a network on bands that of its body, nearly all of it."""
    shape = tuple(side // 2 for side in depth_first_shape) if config.on_bands else depth_first_shape
    with torch.device("meta"):
        whole = build_network(config)
        network = whole.get_submodule("body" if config.on_bands else "")
        x = torch.empty(1, _seen_channels(config), *shape)
    flops: list[float] = []
    widest: list[float] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            at = output if isinstance(module, nn.Conv3d) else inputs[0]
            flops.append(2.0 * module.weight[0].numel() * at.numel())
            widest.append(max(inputs[0].numel(), output.numel()))

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network(x, torch.zeros(1, dtype=torch.int64, device="meta"))
    parameters = sum(p.numel() for p in network.parameters())
    return NetworkCost(sum(flops), sum(_skip_values(config, shape)), max(widest), parameters)


def _seen_channels(config: NetworkConfig) -> int:
    if config.domain == "residual":
        return 2 * BANDS * config.image_channels + config.mask_channels
    return input_channels(config, BANDS if config.on_bands else 1)


def _skip_values(config: NetworkConfig, shape: tuple[int, ...]) -> list[float]:
    """Values of every tensor that the encoder keeps for the decoder."""
    voxels = float(shape[0] * shape[1] * shape[2])
    if config.adversarial:
        return [channels * voxels / 8 ** (level + 1) for level, channels in enumerate(config.level_channels)]
    kept = [config.base_channels * voxels]
    for level, channels in enumerate(config.level_channels):
        kept += [channels * voxels / 8**level] * config.blocks_per_level
        if level < len(config.level_channels) - 1:
            kept.append(channels * voxels / 8 ** (level + 1))
    return kept
