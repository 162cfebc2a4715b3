"""A training's configuration from plain data, completed with what its dataset and starting model know. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..dataset import read_dataset_config
from ..errors import InputError
from ..models.places import find_config
from ..parse import from_dict
from .config import TrainConfig

FROM_START = ("network", "schedule")


def config_from(data: Mapping[str, Any], where: str) -> TrainConfig:
    """The configuration of plain data, with what dataset and starting model know filled in.

    Raises InputError, beginning with ``where``, naming what is missing, unknown or does not fit.
    """
    data = dict(data)
    if isinstance(data.get("start_from"), str):
        data = _with_start(data, data["start_from"])
    network = data.get("network")
    if network is None:
        raise InputError(
            f'{where} describes no network. Add the section [network], a preset (preset = "demo"), or a model to start '
            "from (start_from)."
        )
    lacking = {"image_channels", "mask_channels"} - set(network if isinstance(network, Mapping) else ())
    if lacking and isinstance(network, Mapping) and isinstance(data.get("dataset"), str):
        dataset = read_dataset_config(Path(data["dataset"]))
        channels = {"image_channels": len(dataset.modalities), "mask_channels": len(dataset.scheme.labels)}
        data["network"] = {**network, **{name: channels[name] for name in lacking}}
    config: TrainConfig = from_dict(TrainConfig, data, where)
    return config


def _with_start(data: dict[str, Any], start: str) -> dict[str, Any]:
    """The data with the network and schedule of the model to start from, where they are left out."""
    if all(section in data for section in FROM_START):
        return data
    model = find_config(start)
    network = asdict(replace(model.network, image_channels=1, mask_channels=1))
    for name in ("image_channels", "mask_channels"):
        network.pop(name)
    return {"network": network, "schedule": asdict(model.schedule), **data}
