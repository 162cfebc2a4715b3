"""Reading the shape of a network off the tensors of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import NetworkConfig
from ..errors import InputError
from ..parse import shown
from .build import build_network

_PREFIXES = ("module.", "denoise_fn.", "_orig_mod.", "ema_model.", "online_model.", "model.", "net.", "network.")
# What weights may be stored in; integers, 8-bit floats and complex numbers are no weights of this network.
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_OTHER = "The checkpoint has another architecture than the Med-DDPM 3D U-Net: its tensors cannot be arranged into one"


def without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys with the wrappers' prefixes (those of ``_PREFIXES``, in any order) removed.

    Raises InputError where two keys become the same.
    """
    stripped: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        if name in stripped:
            raise InputError(f"The tensor {shown(name)} is there twice, with and without a prefix.")
        stripped[name] = tensor
    return stripped


def network_config(state: Mapping[str, Tensor]) -> NetworkConfig:
    """The NetworkConfig whose UNet3D has exactly these tensors (published layout: 1 head, 32 groups).

    Raises InputError with what does not fit where the tensors are of another architecture or no finite numbers.
    """
    try:
        config = _guess(state)
        check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, config)
    except KeyError as exc:
        raise InputError(f"{_OTHER} (there is no tensor {exc}).") from exc
    except (ValueError, IndexError, ZeroDivisionError, InputError) as exc:
        raise InputError(f"{_OTHER} ({exc}).") from exc
    check_values(state)
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
    check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, config)
    check_values(state)


def check_shapes(found: Mapping[str, tuple[int, ...]], config: NetworkConfig) -> None:
    """Raise InputError naming the first tensor that is missing, unexpected or of another shape.

    Costs no memory, whatever sizes ``found`` and ``config`` claim.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build_network(config).state_dict().items()}
    for name in sorted(set(expected) | set(found)):
        if name not in found:
            raise InputError(f"The weights do not fit the network: the tensor {name} is missing.")
        if name not in expected:
            raise InputError(f"The weights do not fit the network: it has no tensor {shown(name)}.")
        if expected[name] != found[name]:
            raise InputError(
                f"The weights do not fit the network: {name} should have shape {expected[name]}, "
                f"but has {shown(found[name])}."
            )


def check_values(state: Mapping[str, Tensor]) -> None:
    """Raise InputError naming the first tensor that holds no numbers of float precision, or values not finite in it."""
    for name, tensor in state.items():
        if tensor.dtype not in _DTYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"The weights cannot be used: {name} holds {kind} numbers instead of floating-point ones.")
        if not torch.isfinite(tensor.float()).all():
            raise InputError(f"The weights are damaged: {name} holds values that are not finite numbers.")
