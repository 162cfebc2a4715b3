"""What must be the same when a run goes on: the configuration, but for what is free to change, and the dataset.

Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..dataset import read_dataset_config
from ..errors import InputError
from ..files import sha256
from ..parse import renewed, shown
from .config import TrainConfig

# Fields of dataset.json that training depends on; the others describe it.
_FIELDS = ("scheme", "grid", "modalities", "cases", "mask_values", "background", "normalization")
_USED_SPLITS = ("train", "validation")


def require_same(stored: str, current: Mapping[str, Any], free: Sequence[str]) -> None:
    """Refuse to go on with another configuration; fields (or sections) named in ``free`` may differ.

    ``stored`` is the JSON of the run's beginning. Fields that a newer version added since then do not count. Raises
    InputError naming the first field that differs ("network.base_channels") and both values.
    """
    before, now = _flat(renewed(TrainConfig, json.loads(stored))), _flat(json.loads(json.dumps(current)))
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name] and not any(name == f or name.startswith(f"{f}.") for f in free):
            raise InputError(
                f"This run was started with {name} = {_text(before[name])}, the configuration now says "
                f"{_text(now[name])}. Restore the value, or start a new run in another folder."
            )


def dataset_identity(folder: Path) -> dict[str, Any]:
    """What identifies a prepared dataset wherever it lies: its description, and a hash of every case's tensors.

    Only cases that a training sees count; those of the test split may change. Raises InputError where a file of the
    dataset cannot be read.
    """
    config = read_dataset_config(folder)
    cases = [case for case in config.cases if case.split in _USED_SPLITS]
    data = json.loads(json.dumps(asdict(config)))
    identity = {name: data[name] for name in _FIELDS}
    identity["cases"] = {case.id: case.split for case in cases}
    identity["contents"] = {case.id: _hash(Path(folder) / "cases" / f"{case.id}.safetensors") for case in cases}
    return identity


def require_same_dataset(stored: Mapping[str, Any], folder: Path, current: Mapping[str, Any]) -> None:
    """Refuse to go on with another dataset than the run was started with; ``folder`` is named in the sentence.

    Raises InputError naming the first field or case that differs and both values.
    """
    before, now = _flat(stored), _flat(current)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise InputError(
                f"This run was started with another dataset: {_field(name)} was {_text(before.get(name))}, and is "
                f"{_text(now.get(name))} in {folder}. Bring the former dataset back, or start a new run."
            )


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as exc:
        raise InputError(
            f"The prepared case {path} cannot be read ({exc.strerror}). Prepare the dataset again."
        ) from exc


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat


def _field(name: str) -> str:
    kind, _, case = name.partition(".")
    if kind == "contents":
        return f"the content (SHA-256) of the case '{case}'"
    return f"the split of the case '{case}'" if kind == "cases" else name


def _text(value: Any) -> str:
    return "not there" if value is None else shown(value)
