"""Finding models: by path, or by the name of one that comes with the program or lies in a models folder."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import torch

from ..config import ModelConfig
from ..errors import InputError
from ..files import sha256
from ..network.unet import UNet3D
from .device import choose_device, choose_precision
from .folder import CONFIG_NAME, read_config, read_model_folder, save_model_folder
from .model import Model
from .published import read_published

DEMO = "demo"


def model_folders() -> list[Path]:
    """Where models are looked for by name: ``MEDDDPM_MODELS``, then the ones shipped with the program.

    An installed package has those in its folder ``models/bundled``; a clone of the repository in ``Resources/Models``.
    """
    extra = [Path(p) for p in os.environ.get("MEDDDPM_MODELS", "").split(os.pathsep) if p]
    package = Path(str(resources.files("medddpm")))
    return [*extra, package / "models" / "bundled", package.parent.parent / "Resources" / "Models"]


def list_models() -> dict[str, Path]:
    """Names and places of the models that can be used by name: model folders and ``.pt`` files."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if (path / CONFIG_NAME).is_file():
                found.setdefault(path.name, path)
            elif path.suffix == ".pt":
                found.setdefault(path.stem, path)
    return found


def find_model(name_or_path: str | Path) -> Path:
    """The model folder or ``.pt`` file meant by ``name_or_path``; InputError naming what there is instead."""
    path = Path(os.path.expanduser(name_or_path))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if os.path.exists(path):  # noqa: PTH110 - False, not an error, for names that are too long or not allowed
        return path
    known = list_models()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    names = ", ".join(known) or "none"
    raise InputError(
        f"There is no model '{name_or_path}': no such file or folder, and the models known by name are: {names}."
    )


def find_model_config(name_or_path: str | Path) -> ModelConfig:
    """The configuration of a model, without loading its weights onto a device."""
    path = find_model(name_or_path)
    return read_config(path) if path.is_dir() else read_published(path)[0]


def load_model(path: str | Path, device: str = "cpu", precision: str = "fp32") -> Model:
    """Load a model folder, a published ``.pt`` or a bundled model by name.

    ``device``: "auto", "cpu", "cuda", "cuda:1" or "mps"; ``precision``: "auto", "fp32", "bf16" or "fp16". Never runs
    code from the file. Raises InputError naming file and remedy where it is missing, damaged or of another shape.
    """
    place = find_model(path)
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    if place.is_dir():
        config, state, digest = read_model_folder(place)
    else:
        (config, state), digest = read_published(place), sha256(place)
    with torch.device("meta"):
        network = UNet3D(config.network)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return Model(config, network, where, dtype, digest)


def convert_model(source: str | Path, target: Path) -> ModelConfig:
    """Write the model ``source`` (usually a published ``.pt``) as a model folder ``target``; returns its config."""
    place = find_model(source)
    config, state = read_model_folder(place)[:2] if place.is_dir() else read_published(place)
    save_model_folder(target, config, state)
    return config
