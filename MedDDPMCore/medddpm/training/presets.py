"""Training configurations to begin with. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import InputError
from .complete import FROM_START, config_from
from .config import TrainConfig

PRESETS = {
    "whole-head": "The published whole-head model (128 x 128 x 128 at 1.5 mm), as in the paper. Needs a GPU and days.",
    "brats": "The published BraTS model (192 x 192 x 144 at 1 mm), as in the paper. Needs a large GPU and days.",
    "demo": "The residual network: full resolution on a CPU, best with masks that show tissues.",
    "compact": "The compact network for full resolution on modest machines, at about an eighth of the cost.",
}


def preset_config(name: str, dataset: Path, /, **changes: Any) -> TrainConfig:
    """The preset ``name`` for the prepared dataset in the folder ``dataset``.

    ``changes``: other values for fields of TrainConfig. With other ``iterations``, warm-up and decay of the learning
    rate and the beginning of the average keep their share of the run. With ``start_from``, network and noise schedule
    are those of that model. Raises InputError where there is no such preset, the dataset or the model cannot be read,
    or a value does not fit.
    """
    data = on_preset(name, {**changes, "dataset": str(Path(dataset).resolve())})
    return config_from(data, f"The preset '{name}'")


def on_preset(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a preset with ``changes``, as plain data; within sections field by field."""
    data = preset_data(name)
    if changes.get("start_from") is not None:
        data = {key: value for key, value in data.items() if key not in FROM_START}
    if "iterations" in changes:
        data = _stretched(data, changes["iterations"])
    return _merged(data, changes)


def preset_data(name: str) -> dict[str, Any]:
    """The values of a preset as plain data, without dataset. Raises InputError listing the presets where it is none."""
    if name not in PRESETS:
        raise InputError(f"The preset '{name}' does not exist. Choose one of {', '.join(PRESETS)}.")
    path = resources.files(__package__) / "presets" / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _stretched(data: dict[str, Any], iterations: int) -> dict[str, Any]:
    """The preset for another number of iterations."""
    if type(iterations) is not int or iterations < 1:
        return data  # refused, with a sentence, when the configuration is made
    factor = iterations / data["iterations"]
    shares = (("optimizer", "warmup_steps"), ("optimizer", "decay_steps"), ("ema", "start"))
    for section, field in shares:
        before = data.get(section, {}).get(field, 0)
        if before:
            scaled = max(1, int(before * factor))
            data = _merged(data, {section: {field: scaled}})
    return data


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in changes.items():
        section = isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
        result[name] = {**base[name], **value} if section else value
    return result
