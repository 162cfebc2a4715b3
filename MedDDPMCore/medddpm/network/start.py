"""The weights that training starts from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import ResidualBlock
from .unet import UNet3D

# Shares of torch's random start that are kept beside the open path, and of the residual branches.
RANDOM, BRANCH = 0.5, 0.1


@torch.no_grad()
def open_path(network: UNet3D) -> None:
    """Start ``network`` so that fine detail passes through it from the first iteration, in place.

    What is predicted is mostly the input's own noise, voxel by voxel. From torch's random start, the network needs
    thousands of iterations until a voxel of the input reaches the same voxel of the output sharply; here it does so at
    once: each input channel and its negative have a feature of their own (SiLU of both together is linear), residual
    branches begin small, and decoder blocks pass on what comes from below and what comes from the encoder.
    """
    first = network.get_parameter("input_blocks.0.0.weight").mul_(RANDOM)
    half = min(first.shape[1], first.shape[0] // 2)
    _pass(first, 0, 0, half, 1.0)
    _pass(first, 0, first.shape[0] // 2, half, -1.0)
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            block.get_parameter("out_layers.3.weight").mul_(BRANCH)
    widths = _encoder_widths(network)
    for i in range(len(network.output_blocks)):
        width, connection = widths.pop(), network.get_submodule(f"output_blocks.{i}.0.skip_connection")
        if not isinstance(connection, nn.Conv3d):
            continue  # as many channels out as in: all of them pass already
        skip = connection.weight.mul_(RANDOM)
        below = skip.shape[1] - width
        _pass(skip, 0, 0, min(skip.shape[0], below), 0.7)
        _pass(skip, below, 0, min(skip.shape[0], skip.shape[1] - below), 0.7)
    last = network.get_parameter("out.2.weight").mul_(RANDOM)
    count = min(last.shape[0], last.shape[1] // 2)
    _pass(last, 0, 0, count, 0.5)
    _pass(last, last.shape[1] // 2, 0, count, -0.5)


def _pass(weight: Tensor, first_in: int, first_out: int, count: int, value: float) -> None:
    """Let ``count`` input channels from ``first_in`` on reach as many output channels, voxel to voxel."""
    middle = tuple(side // 2 for side in weight.shape[2:])
    for i in range(count):
        weight[(first_out + i, first_in + i, *middle)] += value


def _encoder_widths(network: UNet3D) -> list[int]:
    """Channels of every tensor that the encoder hands to the decoder, in order."""
    config = network.config
    widths = [config.base_channels]
    for level, channels in enumerate(config.level_channels):
        widths += [channels] * config.blocks_per_level
        if level < len(config.level_channels) - 1:
            widths.append(channels)
    return widths
