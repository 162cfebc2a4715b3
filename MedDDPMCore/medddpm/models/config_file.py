"""The configuration of a model folder as a file; without torch, for processes that do not have it."""

from __future__ import annotations

import stat
from pathlib import Path

from ..config import ModelConfig
from ..errors import InputError
from ..files import read_text

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
MAX_CONFIG_BYTES = 4 * 2**20


def require_file(path: Path, what: str) -> int:
    """The size in bytes of the ordinary file ``path``; InputError where it is missing, unreadable, a folder or a pipe.

    ``what`` begins the sentence: "The checkpoint".
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{what} {path} is not a file. Name the file itself.")
        with path.open("rb"):
            return status.st_size
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise InputError(f"{what} {path} cannot be read: {reason}. Check its name and permissions.") from exc


def read_config_file(path: Path) -> ModelConfig:
    """A model's configuration from a JSON file. Raises InputError naming the file."""
    text = read_text(path, "The model's configuration", MAX_CONFIG_BYTES)
    try:
        return ModelConfig.from_json(text)
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a model folder. Raises InputError naming the file."""
    path = Path(folder) / CONFIG_NAME
    if not path.exists():
        raise InputError(
            f"{folder} is not a model folder: it has no {CONFIG_NAME}. Choose a model folder or a .pt file."
        )
    return read_config_file(path)
