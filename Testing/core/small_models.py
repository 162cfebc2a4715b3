"""Small models with the weights of the reference, for the tests of the core."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from medddpm.config import ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.models.published import whole_head_config
from medddpm.network.unet import UNet3D

REFERENCE = Path(__file__).parent / "reference"


def draw(name: str, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
    """The reference's reproducible normal numbers."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy((generator.standard_normal(shape) * scale).astype(np.float32))


def reference_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the reference: by the network's own tensor names."""
    weights = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith(".bias"):
            weights[name] = draw(name, shape, 0.05)
        elif len(shape) == 1:
            weights[name] = 1 + draw(name, shape, 0.05)
        else:
            weights[name] = draw(name, shape, 1 / np.sqrt(np.prod(shape[1:])))
    return weights


def reference_network(config: NetworkConfig) -> UNet3D:
    """A UNet3D with the reference's weights."""
    network = UNet3D(config)
    network.load_state_dict(reference_weights(network))
    return network


SMALL = NetworkConfig(1, 2, 32, (1, 2, 3, 4), 1, (4,))


def small_config(steps: int = 12, prediction: str = "noise") -> ModelConfig:
    """The small published layout with a schedule of ``steps``."""
    return whole_head_config(SMALL, ScheduleConfig(steps=steps, prediction=prediction))
