"""Reading the shape of a network off the tensors of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import NetworkConfig
from ..errors import InputError
from .unet import UNet3D

_PREFIXES = ("module.", "denoise_fn.")


def without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys with the wrappers' prefixes (``module.``, ``denoise_fn.``, in any order) removed."""
    stripped = {}
    for key, tensor in state.items():
        while key.startswith(_PREFIXES):
            key = key.split(".", 1)[1]
        stripped[key] = tensor
    return stripped


def network_config(state: Mapping[str, Tensor]) -> NetworkConfig:
    """The NetworkConfig whose UNet3D has exactly these tensors (published layout: 1 head, 32 groups).

    Raises InputError with what does not fit where the tensors are of another architecture.
    """
    try:
        config = _guess(state)
        check_fits(state, config)
    except (KeyError, ValueError, IndexError) as exc:
        raise InputError(
            "The checkpoint is of another architecture than the Med-DDPM 3D U-Net: its tensors cannot be arranged into "
            f"one ({exc})."
        ) from exc
    return config


def _guess(state: Mapping[str, Tensor]) -> NetworkConfig:
    first = state["input_blocks.0.0.weight"]
    base, in_channels = first.shape[0], first.shape[1]
    image_channels = state["out.2.weight"].shape[0]
    channels: list[int] = []
    blocks: list[int] = [0]
    attention: list[int] = []
    for index in range(1, 1 + _count(state, "input_blocks")):
        if f"input_blocks.{index}.0.op.weight" in state:
            blocks.append(0)
        elif f"input_blocks.{index}.0.in_layers.2.weight" in state:
            if blocks[-1] == 0:
                channels.append(state[f"input_blocks.{index}.0.in_layers.2.weight"].shape[0])
            blocks[-1] += 1
            if f"input_blocks.{index}.1.qkv.weight" in state:
                attention.append(2 ** (len(blocks) - 1))
    if len(set(blocks)) != 1 or any(c % base for c in channels):
        raise ValueError(f"levels of {blocks} blocks and {channels} channels")
    return NetworkConfig(
        image_channels=image_channels,
        mask_channels=in_channels - image_channels,
        base_channels=base,
        multipliers=tuple(c // base for c in channels),
        blocks_per_level=blocks[0],
        attention_factors=tuple(sorted(set(attention))),
    )


def _count(state: Mapping[str, Tensor], group: str) -> int:
    """The highest index used in ``group``."""
    pattern = re.compile(rf"{group}\.(\d{{1,3}})\.")
    return max((int(m.group(1)) for key in state if (m := pattern.match(key))), default=0)


def check_fits(state: Mapping[str, Tensor], config: NetworkConfig) -> None:
    """Raise InputError naming the first tensor that is missing, unexpected, of another shape, or not finite."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in UNet3D(config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            raise InputError(
                f"The weights do not fit the network: {name} should have shape {expected.get(name, 'none')}, "
                f"but has {found.get(name, 'none')}."
            )
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise InputError(f"The weights are damaged: {name} holds values that are not finite numbers.")
