"""The run folder for what is asked of ``medddpm train``: a new one, or one to go on with. Imports no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .config import FREE_TO_CHANGE, TrainConfig
from .configfile import read_train_file
from .presets import PRESETS, preset_config
from .ranks import launched_rank
from .resume import require_same
from .run import RunFolder

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

    ``changes``: fields of TrainConfig, of which a run that is there already takes ``iterations`` alone. ``check`` is
    asked before a new folder is made. In a group of processes the first one makes it, and the others wait for it.
    Raises InputError where what is asked does not fit together, or is another training than the one that the folder
    holds.
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
        file = read_train_file(target, {**changes, **{name: value for name, value in named.items() if value}})
        config, usual = file.config, file.output or target.resolve().parent / "runs" / target.stem
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
    iterations = changes.pop("iterations", None)
    if changes:
        raise InputError(
            f"The training in {folder} has begun, so its {', '.join(changes)} cannot be changed. Leave the option out, "
            "or start another run."
        )
    run = RunFolder.open(folder)
    if iterations is not None:
        _wait_for(run, iterations) if launched_rank() != 0 else run.extend(iterations)
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
