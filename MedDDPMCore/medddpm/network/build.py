"""One place that makes the network which a configuration describes."""

from __future__ import annotations

from ..config import NetworkConfig
from .compact import CompactUNet
from .unet import UNet3D

Network = UNet3D | CompactUNet


def build_network(config: NetworkConfig) -> Network:
    """The network with random weights. A ``CompactUNet`` still has to be told the noise schedule."""
    return UNet3D(config) if config.domain == "voxels" else CompactUNet(config)
