"""Loading and converting models, found by path or by name."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..files import sha256
from ..network.build import build_network
from .device import choose_device, choose_precision
from .folder import read_model_folder, save_model_folder
from .model import Model
from .places import find_model


def read_model(name_or_path: str | Path) -> tuple[ModelConfig, dict[str, Tensor], str]:
    """Configuration, network tensors as stored and SHA-256 of a model; see ``load_model`` for what it may be."""
    place = find_model(name_or_path)
    if place.is_dir():
        return read_model_folder(place)
    from .published import read_published

    return (*read_published(place), sha256(place))


def load_model(path: str | Path, device: str = "cpu", precision: str = "fp32") -> Model:
    """Load a model folder, a published ``.pt`` or a bundled model by name.

    ``device``: "auto", "cpu", "cuda", "cuda:1" or "mps"; ``precision``: "auto", "fp32", "bf16" or "fp16". Never runs
    code from the file. Raises InputError naming file and remedy where it is missing, damaged or of another shape.
    """
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    config, state, digest = read_model(path)
    with torch.device("meta"):
        network = build_network(config.network)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return Model(config, network, where, dtype, digest)


def convert_model(source: str | Path, target: Path) -> ModelConfig:
    """Write the model ``source`` (usually a published ``.pt``) as a model folder ``target``; returns its config."""
    config, state, _ = read_model(source)
    save_model_folder(target, config, state)
    return config
