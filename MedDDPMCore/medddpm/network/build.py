"""One place that makes the network which a configuration describes."""

from __future__ import annotations

from .. import plugins
from ..config import NetworkConfig
from .compact import CompactUNet
from .gan import Generator
from .residual import ResidualUNet
from .unet import UNet3D

Network = UNet3D | CompactUNet | ResidualUNet | Generator
NETWORKS: dict[str, type[Network]] = {
    "voxels": UNet3D,
    "wavelet": CompactUNet,
    "residual": ResidualUNet,
    "pix2pix": Generator,
    "discogan": Generator,
}


def build_network(config: NetworkConfig) -> Network:
    """The network with random weights. One on bands still has to be told the noise schedule.

    Raises InputError where it is of another package and cannot be loaded.
    """
    if config.domain in NETWORKS:
        return NETWORKS[config.domain](config)
    return plugins.load("networks", config.domain)(config)
