"""What must be the same when a run goes on: the configuration, but for what is free to change, and the dataset.

Imports no torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..dataset import DatasetConfig, read_dataset_config
from ..errors import InputError
from ..files import sha256
from ..parse import renewed, shown
from .config import FREE_TO_CHANGE, TrainConfig
from .launch import launched_rank
from .presets import PRESETS, preset_config, read_train_file
from .run import RunFolder

# Fields of dataset.json that training depends on; the others describe it.
_FIELDS = ("scheme", "grid", "modalities", "cases", "mask_values", "background", "normalization")
_USED_SPLITS = ("train", "validation")
HASH_DIGITS = 16


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
    files = {case.id: Path(folder) / "cases" / f"{case.id}.safetensors" for case in cases}
    try:
        return {**identity, "contents": {case: sha256(path) for case, path in files.items()}}
    except OSError as exc:
        raise InputError(
            f"The prepared case {exc.filename} cannot be read ({exc.strerror}). Prepare the dataset again."
        ) from exc


def case_hashes(config: DatasetConfig, tensors: Mapping[str, str], cases: Iterable[str]) -> dict[str, list[str]]:
    """What tells the images of each case wherever they lie: the first ``HASH_DIGITS`` of SHA-256 of its scans, where
    these are recorded, and of its prepared tensors (``tensors``, by case).
    """
    known = {case: {**config.hashes.get(case, {}), "tensors": tensors[case]} for case in cases}
    return {
        case: sorted({value[:HASH_DIGITS] for name, value in found.items() if name != "mask"})
        for case, found in known.items()
    }


def recorded_hashes(training: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a model records of its training cases and of those of the models it started from (``ModelConfig.training``):
    their hashes as ``case_hashes``; none where only the name is known.
    """
    named, hashes = training.get("training_cases"), training.get("training_hashes")
    known = {str(case): list(map(str, values)) for case, values in hashes.items()} if isinstance(hashes, dict) else {}
    return {str(case): [] for case in named if str(case) not in known} | known if isinstance(named, list) else known


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


# How long a further process of a group waits for the first one to make the run folder.
WAIT_SECONDS = 120.0


def open_run(
    target: Path | None = None,
    dataset: Path | None = None,
    preset: str | None = None,
    out: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    check: Callable[[TrainConfig], object] = lambda config: None,
) -> RunFolder:
    """The run folder, ready to be trained, for a TOML file or run folder ``target``, or a dataset with a preset.

    ``changes``: fields of TrainConfig, of which a run that is there already takes ``iterations`` and ``on`` alone.
    ``check`` is asked before a new folder is made. In a group of processes the first one makes it, and the others wait
    for it. Raises InputError where what is asked does not fit together, or is another training than the one that the
    folder holds.
    """
    changes = dict(changes or {})
    if target is not None and target.is_dir():
        if dataset or preset or out:
            raise InputError(
                f"{target} is the folder of a training, which is resumed with its own dataset, preset and output "
                "folder. Leave these options out."
            )
        return _go_on(target, changes)
    if "start_from" in changes and Path(changes["start_from"]).exists():
        changes["start_from"] = str(Path(changes["start_from"]).resolve())
    if target is not None:
        named = {"preset": preset, "dataset": dataset and str(dataset.resolve())}
        config, output = read_train_file(target, {**changes, **{name: value for name, value in named.items() if value}})
        usual = output or target.resolve().parent / "runs" / target.stem
    elif dataset is not None and preset is not None:
        config, usual = preset_config(preset, dataset, **changes), Path("runs") / preset
    else:
        raise InputError(
            "There is nothing to train. Name a TOML file, the folder of a run, or a prepared dataset and a preset, "
            f"such as {next(iter(PRESETS))}.",
            option="dataset",
        )
    run = RunFolder((out or usual).resolve())
    if launched_rank() != 0:
        _wait_for(run, config.iterations)
    elif not run.submitted:
        check(config)
        run.create(config)
    else:
        _change(run, config)
    return run


def _go_on(folder: Path, changes: dict[str, Any]) -> RunFolder:
    free: dict[str, Any] = {name: changes.pop(name) for name in ("iterations", "on") if name in changes}
    if changes:
        raise InputError(
            f"The training in {folder} has begun, so its {', '.join(changes)} cannot be changed. Leave the option out, "
            "or start another run."
        )
    run = RunFolder.open(folder)
    if launched_rank() != 0:
        _wait_for(run, free.get("iterations", run.config().iterations))
    elif free:
        run.reconfigure(free)
    return run


def _change(run: RunFolder, config: TrainConfig) -> None:
    """Take over what is free to change; InputError, naming the field, where this would be another training."""
    before = run.config()
    try:
        require_same(json.dumps(before.to_dict()), config.to_dict(), FREE_TO_CHANGE)
    except InputError as exc:
        raise InputError(f"{run.path} already holds another training. {exc}") from exc
    if config != before:
        run.reconfigure(config.to_dict())


def _wait_for(run: RunFolder, iterations: int) -> None:
    limit = time.monotonic() + WAIT_SECONDS
    while not (run.submitted and run.config().iterations == iterations):
        if time.monotonic() > limit:
            raise InputError(
                f"The first process of this training has not made {run.path}. All processes must see the same folder: "
                "put it on a disk that they share."
            )
        time.sleep(0.2)
