"""The network that a training starts from."""

from __future__ import annotations

import torch

from ..config import NetworkConfig
from ..network.build import Network, build_network
from ..network.start import open_path
from ..network.unet import UNet3D
from ..sampling.schedule import Schedule
from .dataset import PreparedDataset


def fresh_network(config: NetworkConfig, schedule: Schedule, dataset: PreparedDataset) -> Network:
    """A network with random weights; a compact one knows the schedule and the statistics of ``dataset``."""
    network = build_network(config)
    if isinstance(network, UNet3D):
        open_path(network)
    else:
        network.use_schedule(torch.from_numpy(schedule.alpha), torch.from_numpy(schedule.sigma))
        network.fit([dataset[i] for i in range(len(dataset))])
    return network
