"""The run folder for what is asked of ``medddpm train``: a new one, or one to go on with. Imports no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Asked:
    """What a person asks for: a TOML file or run folder, or a dataset with a preset; and what of it is different.

    ``changes``: fields of TrainConfig, of which a run that is there already takes ``iterations`` alone.
    """

    target: Path | None = None
    dataset: Path | None = None
    preset: str | None = None
    out: Path | None = None
    changes: Mapping[str, Any] | None = None


def open_run(asked: Asked, check: Callable[[TrainConfig], object] = lambda config: None) -> RunFolder:
    """The run folder, ready to be trained.

    In a group of processes the first one makes it, and the others wait for it. ``check`` is asked before a new folder
    is made. Raises InputError where what is asked does not fit together, or is another training than the one that the
    folder holds.
    """
    if asked.target is not None and asked.target.is_dir():
        return _existing(asked)
    config, folder = _described(asked)
    run = RunFolder(folder)
    if launched_rank() != 0:
        _wait_for(run, config.iterations)
    elif not run.submitted:
        check(config)
        run.create(config)
    else:
        _go_on(run, config)
    return run


def _existing(asked: Asked) -> RunFolder:
    assert asked.target is not None
    if asked.dataset or asked.preset or asked.out:
        raise InputError(
            f"{asked.target} is a folder, so that training goes on there; dataset, preset and output folder are known. "
            "Leave these options out."
        )
    changes = dict(asked.changes or {})
    iterations = changes.pop("iterations", None)
    if changes:
        raise InputError(
            f"The training in {asked.target} has begun, so that its {', '.join(changes)} cannot be given anew. Leave "
            "the option out, or start another run."
        )
    run = RunFolder.open(asked.target)
    if iterations is not None:
        _wait_for(run, iterations) if launched_rank() != 0 else run.extend(iterations)
    return run


def _described(asked: Asked) -> tuple[TrainConfig, Path]:
    """The configuration, and the folder to run it in."""
    changes = dict(asked.changes or {})
    if "start_from" in changes and Path(changes["start_from"]).exists():
        changes["start_from"] = str(Path(changes["start_from"]).resolve())
    if asked.target is None:
        return _from_preset(asked, changes)
    if asked.preset:
        changes["preset"] = asked.preset
    if asked.dataset:
        changes["dataset"] = str(asked.dataset.resolve())
    file = read_train_file(asked.target, changes)
    usual = asked.target.resolve().parent / "runs" / asked.target.stem
    return file.config, (asked.out or file.output or usual).resolve()


def _from_preset(asked: Asked, changes: dict[str, Any]) -> tuple[TrainConfig, Path]:
    if asked.dataset is None or asked.preset is None:
        raise InputError(
            "There is nothing to train. Name a TOML file, the folder of a run, or a prepared dataset and a preset: "
            f"medddpm train --dataset FOLDER --preset {next(iter(PRESETS))}."
        )
    config = preset_config(asked.preset, asked.dataset, **changes)
    return config, (asked.out or Path("runs") / asked.preset).resolve()


def _go_on(run: RunFolder, config: TrainConfig) -> None:
    """Take over what is free to change; InputError, naming the field, where this would be another training."""
    before = run.config()
    try:
        require_same(json.dumps(before.to_dict()), config.to_dict(), FREE_TO_CHANGE)
    except InputError as exc:
        raise InputError(f"{run.path} holds another training already. {exc}") from exc
    if config != before:
        run.reconfigure(config)


def _wait_for(run: RunFolder, iterations: int) -> None:
    limit = time.monotonic() + WAIT_SECONDS
    while not (run.submitted and run.config().iterations == iterations):
        if time.monotonic() > limit:
            raise InputError(
                f"The first process of this training has not made {run.path}. All processes must see the same folder: "
                "put it on a disk that they share."
            )
        time.sleep(0.2)
