"""Model folders: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import ModelConfig
from ..errors import InputError
from ..files import atomic_path, write_text

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
MAX_CONFIG_BYTES = 4 * 2**20


def save_model_folder(
    folder: Path, config: ModelConfig, state: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """Write a model folder; ``dtype`` (for example float16) makes the weights smaller, None keeps theirs."""
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    with atomic_path(Path(folder) / WEIGHTS_NAME) as temporary:
        save_file(tensors, temporary)
    write_text(Path(folder) / CONFIG_NAME, config.to_json())


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a model folder. Raises InputError naming the file."""
    path = Path(folder) / CONFIG_NAME
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise InputError(f"{path} has {path.stat().st_size} bytes; a model's configuration is far smaller.")
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise InputError(f"The model's configuration {path} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"The model's configuration {path} is not UTF-8 text.") from exc
    try:
        return ModelConfig.from_json(text)
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc


def read_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model folder, as stored. Raises InputError where the file is missing, truncated or damaged."""
    path = Path(folder) / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(f"The model folder {folder} has no file {WEIGHTS_NAME}. Copy the whole folder again.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as exc:
        raise InputError(f"The weights {path} are damaged or incomplete ({exc}). Copy the file again.") from exc
