"""Training configurations to begin with. Imports no torch."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from ..dataset import read_dataset_config
from ..errors import InputError
from ..files import read_text
from ..models.places import find_config
from ..parse import from_dict, renewed, shown
from .config import TrainConfig

PRESETS = {
    "whole-head": "The published whole-head model (128 x 128 x 128 at 1.5 mm), as in the paper. Needs a GPU and days.",
    "brats": "The published BraTS model (192 x 192 x 144 at 1 mm), as in the paper. Needs a large GPU and days.",
    "demo": "The residual network: full resolution on a CPU, best with masks that show tissues.",
    "compact": "The compact network for full resolution on modest machines, at about an eighth of the cost.",
    "pix2pix": "The GAN Pix2Pix in 3D, a baseline of the paper: one pass for an image. For a GPU.",
    "discogan": "The GAN DiscoGAN in 3D, a baseline of the paper: one pass for an image. For a GPU.",
}

# What a model that a training starts from knows.
FROM_START = ("network", "schedule")


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
    iterations = changes.get("iterations")
    if type(iterations) is int and iterations >= 1:  # else refused, with a sentence, when the configuration is made
        factor = iterations / data["iterations"]
        for section, name in (("optimizer", "warmup_steps"), ("optimizer", "decay_steps"), ("ema", "start")):
            if before := data.get(section, {}).get(name, 0):
                data = _merged(data, {section: {name: max(1, int(before * factor))}})
    return _merged(data, changes)


def preset_data(name: str) -> dict[str, Any]:
    """The values of a preset as plain data, without dataset. Raises InputError listing the presets where it is none."""
    if name not in PRESETS:
        raise InputError(f"The preset '{name}' does not exist. Choose one of {', '.join(PRESETS)}.")
    path = resources.files(__package__) / "presets" / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in changes.items():
        section = isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
        result[name] = {**base[name], **value} if section else value
    return result


def config_from(data: Mapping[str, Any], where: str) -> TrainConfig:
    """The configuration of plain data, with what dataset and starting model know filled in.

    Raises InputError, beginning with ``where``, naming what is missing, unknown or does not fit.
    """
    data = dict(data)
    if isinstance(data.get("start_from"), str) and not all(section in data for section in FROM_START):
        model = find_config(data["start_from"])
        known = asdict(model.network)
        for name in ("image_channels", "mask_channels"):
            known.pop(name)
        data = {"network": known, "schedule": asdict(model.schedule), **data}
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


# Of the file, but not of the configuration.
MAX_BYTES = 20_000


def read_train_file(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[TrainConfig, Path | None]:
    """The configuration in a TOML file, and the run folder that it names as ``output`` (None where it does not).

    It has the fields of ``TrainConfig`` and its sections; ``preset`` names a preset whose values it changes. What the
    dataset knows (image and mask channels of the network), and what a model that the training starts from knows
    (network and noise schedule), may be left out. ``changes`` (fields of TrainConfig) replace what it says. Relative
    paths in it count from its folder. Raises InputError naming the file and the field that does not fit.
    """
    path = Path(path)
    where = f"The training configuration {path}"
    try:
        # tomllib takes a time that grows with the third power of the length of a name with dots
        read = tomllib.loads(read_text(path, "The training configuration", MAX_BYTES))
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise InputError(f"{where} is not valid TOML: {exc}.") from exc
    data = {**renewed(TrainConfig, read, where), **(changes or {})}
    _check_names(data, where)
    base = path.resolve().parent
    output = data.pop("output", None)
    if output is not None and not isinstance(output, str):
        raise InputError(f"{where}: output must be text, not {shown(output)}.")
    preset = data.pop("preset", None)
    if preset is not None:
        data = on_preset(preset, data)
    for name in ("dataset", "start_from"):
        if isinstance(data.get(name), str) and (name == "dataset" or (base / data[name]).exists()):
            data[name] = str((base / data[name]).resolve())
    return config_from(data, where), None if output is None else (base / output).resolve()


def _check_names(data: Mapping[str, Any], where: str) -> None:
    """Raise InputError for the first unknown field, with the one that was probably meant."""
    known = ["output", "preset", *_names(TrainConfig)]
    given = [
        f"{key}.{name}" if name else key
        for key, value in data.items()
        for name in (value if isinstance(value, Mapping) and value else ("",))
    ]
    name = next((name for name in given if name not in known), None)
    if name is None:
        return
    last = {other: other.split(".")[-1] for other in known}
    close = [other for other in known if last[other] == name.split(".")[-1]]
    close = close or difflib.get_close_matches(name, known, 1, 0.7)
    close = close or [o for o in known if difflib.get_close_matches(name.split(".")[-1], [last[o]], 1, 0.8)]
    remedy = (
        f"Perhaps {close[0]} is meant." if close else "Leave it out, or update MedDDPM if a newer version wrote it."
    )
    raise InputError(f"{where} has the unknown field '{name}'. {remedy}")


def _names(cls: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(cls)
    for field in fields(cls):  # type: ignore[arg-type]
        yield prefix + field.name
        if is_dataclass(hints[field.name]):
            yield from _names(hints[field.name], f"{field.name}.")  # type: ignore[arg-type]
