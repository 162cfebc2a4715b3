"""The networks that are measured, with reproducible weights and inputs, in the plain and in other ways to compute."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from medddpm.config import ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.errors import InputError
from medddpm.models.device import DTYPES
from medddpm.models.model import Model
from medddpm.models.published import brats_config, whole_head_config
from medddpm.network.unet import UNet3D
from torch import Tensor

# The two published layouts, and the small one of the reference numbers for quick runs.
NETWORKS = {
    "whole-head": NetworkConfig(1, 2, 64, (1, 1, 2, 3, 4), 1, (8,)),
    "brats": NetworkConfig(4, 4, 64, (1, 1, 2, 3, 4), 2, ()),
    "small": NetworkConfig(1, 2, 32, (1, 2, 3, 4), 1, (4,)),
}

Evaluate = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Variant:
    """One way to compute the same network; ``product``: through ``Model``, as every user's synthesis does."""

    name: str
    precision: str
    channels_last: bool
    keep_memory: bool
    product: bool = False


PLAIN = Variant("plain: fp32, contiguous", "fp32", channels_last=False, keep_memory=False)
FAST = Variant(
    "fast: bf16, channels last, freed memory kept", "bf16", channels_last=True, keep_memory=True, product=True
)


def network_named(name: str) -> NetworkConfig:
    """A network of ``NETWORKS``; InputError listing the names where there is none such."""
    if name not in NETWORKS:
        raise InputError(f"There is no network '{name}' to measure. Choose one of {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def config_named(name: str, steps: int = 250) -> ModelConfig:
    """The model configuration of a network: the published BraTS one or the published whole-head one."""
    network = network_named(name)
    describe = brats_config if network.image_channels == 4 else whole_head_config
    return describe(network, ScheduleConfig(steps=steps))


def draw(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Normal numbers that depend on ``name`` alone, float32: the recipe of ``Testing/core/reference``."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy((generator.standard_normal(shape) * scale).astype(np.float32))


def reference_network(config: NetworkConfig) -> UNet3D:
    """The network with the reference's weights: unit variance through every layer, small biases."""
    network = UNet3D(config)
    weights = {name: _weight(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()}
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def _weight(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith(".bias"):
        return draw(name, shape, 0.05)
    if len(shape) == 1:
        return 1 + draw(name, shape, 0.05)
    return draw(name, shape, float(1 / np.sqrt(np.prod(shape[1:]))))


def condition(config: ModelConfig, shape: tuple[int, ...]) -> Tensor:
    """A mask (1, L, D, H, W): a ball as the head with nested smaller balls as the tumor, in the model's mask values."""
    axes = [torch.linspace(-1, 1, n) for n in shape]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    limits = torch.linspace(0.9, 0.0, config.network.mask_channels + 1).tolist()
    inside = torch.stack([(radius <= a) & (radius > b) for a, b in itertools.pairwise(limits)])
    off, on = config.mask_values
    return (off + (on - off) * inside.float())[None]


def evaluator(variant: Variant, config: ModelConfig, device: torch.device, network: UNet3D | None = None) -> Evaluate:
    """A function (x_t, condition, t) -> prediction in float32, computing as ``variant`` says.

    ``network``: what computes it, in place; left out, that of ``reference_network``.
    """
    network, dtype = network or reference_network(config.network), DTYPES[variant.precision]
    if variant.product:
        return Model(config, network, device, dtype, "0" * 64).predict_noise
    layout = torch.channels_last_3d if variant.channels_last else torch.contiguous_format
    network = network.to(device, dtype, memory_format=layout)  # type: ignore[call-overload]

    @torch.inference_mode()
    def evaluate(x: Tensor, mask: Tensor, t: Tensor) -> Tensor:
        stacked = torch.cat([x.to(device, dtype), mask.to(device, dtype)], dim=1).contiguous(memory_format=layout)
        return network(stacked, t.to(device)).float()

    return evaluate
