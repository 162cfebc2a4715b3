"""Where models are, and what their folders say of them; without torch, for processes that do not have it."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from ..config import ModelConfig
from ..errors import InputError
from .config_file import CONFIG_NAME, read_config

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
    """The model folder or ``.pt`` file meant by ``name_or_path``; InputError naming what there is instead.

    A model known by name is meant by that name even where a folder is called so, too; ``./name`` is the folder.
    """
    known = list_models()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(os.path.expanduser(name_or_path))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if os.path.exists(path):  # noqa: PTH110 - False, not an error, for names that are too long or not allowed
        return path
    names = ", ".join(known) or "none"
    raise InputError(
        f"The model '{name_or_path}' does not exist: no such file or folder, and the models known by name are: {names}."
    )


def find_config(name_or_path: str | Path) -> ModelConfig:
    """The configuration of a model by name or path; torch is loaded only where that is a published checkpoint."""
    path = find_model(name_or_path)
    if path.is_dir():
        return read_config(path)
    from .published import read_published

    return read_published(path)[0]
