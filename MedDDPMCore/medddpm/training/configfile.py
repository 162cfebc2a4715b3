"""The TOML file given to ``medddpm train``. Imports no torch.

It has the fields of ``TrainConfig`` and its sections. ``preset`` names a preset whose values it changes; ``output`` is
the run folder. What the dataset knows (image and mask channels of the network), and what a model that the training
starts from knows (network and noise schedule), may be left out.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ..errors import InputError
from ..files import read_text
from ..parse import renewed, shown
from .config import TrainConfig
from .presets import config_from, on_preset

# Of the file, but not of the configuration.
MAX_BYTES = 20_000
_OF_THE_FILE = ("output", "preset")


@dataclass(frozen=True)
class TrainFile:
    """A file's configuration, and the run folder that it names (None where it does not)."""

    config: TrainConfig
    output: Path | None


def read_train_file(path: Path, changes: Mapping[str, Any] | None = None) -> TrainFile:
    """Read a TOML file; ``changes`` (fields of TrainConfig) replace what it says.

    Relative paths in it count from its folder. Raises InputError naming the file and the field that does not fit.
    """
    path = Path(path)
    where = f"The training configuration {path}"
    data = {**renewed(TrainConfig, _parsed(path), where), **(changes or {})}
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
    return TrainFile(config_from(data, where), None if output is None else (base / output).resolve())


def _parsed(path: Path) -> dict[str, Any]:
    try:
        # tomllib takes a time that grows with the third power of the length of a name with dots
        return tomllib.loads(read_text(path, "The training configuration", MAX_BYTES))
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise InputError(f"The training configuration {path} is not valid TOML: {exc}.") from exc


def _check_names(data: Mapping[str, Any], where: str) -> None:
    """Raise InputError for the first unknown field, with the one that was probably meant."""
    known = [*_OF_THE_FILE, *_names(TrainConfig)]
    given = [name for key, value in data.items() for name in _dotted(key, value)]
    for name in given:
        if name not in known:
            raise InputError(f"{where} has the unknown field '{name}'. {_remedy(name, known)}")


def _names(cls: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(cls)
    for field in fields(cls):  # type: ignore[arg-type]
        yield prefix + field.name
        if is_dataclass(hints[field.name]):
            yield from _names(hints[field.name], f"{field.name}.")  # type: ignore[arg-type]


def _dotted(key: str, value: Any) -> list[str]:
    return [f"{key}.{name}" for name in value] or [key] if isinstance(value, Mapping) else [key]


def _remedy(name: str, known: list[str]) -> str:
    last = name.split(".")[-1]
    same = [other for other in known if other.split(".")[-1] == last]
    close = same or difflib.get_close_matches(name, known, 1, 0.7)
    if not close:
        close = [other for other in known if other.split(".")[-1] in difflib.get_close_matches(last, [other], 1, 0.8)]
    return f"Perhaps {close[0]} is meant." if close else "Leave it out, or update MedDDPM if a newer version wrote it."
