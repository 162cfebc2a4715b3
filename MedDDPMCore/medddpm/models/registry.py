"""Models on the disk, found by path or by name: loading, saving, converting.

A model folder has ``config.json`` and ``model.safetensors``, tied to each other by a checksum. It can be rewritten
while others read it and whatever kills the writer: the new weights are first written beside the old ones under a name
made of their hash, then ``config.json`` with that hash replaces the old one, and only then do the weights take their
final name. At every moment ``config.json`` and the weights that it means are both whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..config import ModelConfig, from_dict
from ..errors import InputError
from ..files import atomic_path, sha256, write_text
from ..network.build import build_network
from ..network.layout import check_shapes, check_values
from ..progress import Reporter
from .config_file import CONFIG_NAME, WEIGHTS_NAME, read_config, require_file
from .device import choose_device, choose_precision
from .model import Model
from .places import find_model

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder


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


_STAGED = re.compile(r"model-[0-9a-f]{16}\.safetensors")


def save_model_folder(
    folder: Path, config: ModelConfig, state: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """Write a model folder; ``dtype`` (for example float16) makes the weights smaller, None keeps theirs.

    ``config.weights_sha256`` is filled in. An older model in the folder stays usable until the new one is. Raises
    InputError where the folder cannot be written.
    """
    folder = Path(folder)
    data = save({name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()})
    digest = sha256_of(data).hexdigest()
    staged = folder / _staged_name(digest)
    with atomic_path(staged) as temporary:
        temporary.write_bytes(data)
    write_text(folder / CONFIG_NAME, replace(config, weights_sha256=digest).to_json())
    try:
        staged.replace(folder / WEIGHTS_NAME)
        for path in folder.iterdir():  # of writers that were killed
            if _STAGED.fullmatch(path.name):
                path.unlink()
    except OSError as exc:
        raise InputError(
            f"{folder / WEIGHTS_NAME} could not be replaced: {exc.strerror}. The new model is complete, its weights "
            f"are in {staged.name}. Close programs that use the old one and save again."
        ) from exc


def _staged_name(digest: str) -> str:
    return f"model-{digest[:16]}.safetensors"


def read_model_folder(folder: Path) -> tuple[ModelConfig, dict[str, Tensor], str]:
    """Configuration, network tensors as stored, and the SHA-256 of the weights file.

    Raises InputError naming the file where one is missing, damaged, or where the two do not belong together. A folder
    whose configuration records no checksum is taken as it is.
    """
    config = read_config(folder)
    path = _weights_path(Path(folder), config)
    require_file(path, "The weights file")
    try:
        state, digest = _read_weights(path, config)
    except (SafetensorError, OSError) as exc:
        raise InputError(f"The weights {path} are damaged or incomplete ({exc}). Copy the file again.") from exc
    except InputError as exc:
        raise InputError(f"{path}: {exc} Copy the whole model folder again.") from exc
    return config, state, digest


def _weights_path(folder: Path, config: ModelConfig) -> Path:
    """Where the weights of ``config`` are: under their final name, unless their writer was killed just before that."""
    if config.weights_sha256 is not None:
        staged = folder / _staged_name(config.weights_sha256)
        if staged.is_file():
            return staged
    return folder / WEIGHTS_NAME


def _read_weights(path: Path, config: ModelConfig) -> tuple[dict[str, Tensor], str]:
    """Tensors and hash of the file, the cheap checks first, so that a hostile file costs no memory."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        check_shapes({name: tuple(file.get_slice(name).get_shape()) for name in names}, config.network)
        digest = sha256(path)
        if config.weights_sha256 not in (None, digest):
            raise InputError(
                f"The weights are damaged or belong to another {CONFIG_NAME}: their SHA-256 is {digest[:12]}..., but "
                f"{CONFIG_NAME} says {str(config.weights_sha256)[:12]}..."
            )
        # clone: the file may be replaced or cut while the model is in use
        state = {name: file.get_tensor(name).clone() for name in names}
    check_values(state)
    return state, digest


@dataclass(frozen=True)
class ConvertRequest:
    """``model`` is the checkpoint (``.pt``) or model folder; ``name`` is what people call it, for the log only."""

    model: str
    name: str = ""


def convert_job(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Write the model as a model folder, ``outputs/model``. Raises InputError where it cannot be used."""
    wanted: ConvertRequest = from_dict(ConvertRequest, request, "The job's request")
    reporter.stage("convert", "Reading the checkpoint")
    convert_model(wanted.model, folder.output("model"))
