"""From the parameter node to what is asked of the core."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.preparation.options import PrepareOptions
from medddpm.training.presets import preset_config
from MedDDPMSlicerLib.Models import ModelLibrary

MAX_NAME = 60
# Whoever trains on scans knows under which rules they are; a model can remember its training images.
OWN_LICENSE = "By the rules of the scans that it was trained on"


def prepareRequest(parameterNode: Any) -> dict[str, Any]:
    """The fields of ``PrepareOptions``. Raises InputError naming a choice that does not fit."""
    node = parameterNode
    source, out = _folder(node.sourceFolder, "source"), _folder(node.datasetFolder, "dataset")
    return PrepareOptions(
        source=str(source),
        out=str(out),
        layout=node.layout or "auto",
        table=node.tableFile or None,
        scheme=node.scheme or "brats",
        grid=node.grid or "auto",
        modalities=tuple(str(name) for name in node.modalities),
        register=node.register or "none",
        template=(node.template or None) if node.register == "template" else None,
        intensities=node.intensities or "percentile",
        outline=node.outline or "auto",
        labels=node.labels.strip() or None,
        validation=node.validationShare,
        test=node.testShare,
        seed=node.splitSeed,
        leave_out=tuple(str(case) for case in node.leaveOut),
        leave_out_flagged=node.leaveOutFlagged,
    ).to_dict()


def trainConfig(parameterNode: Any, library: ModelLibrary) -> Any:
    """The ``TrainConfig`` of what was chosen. Raises InputError naming what is missing or does not fit."""
    node = parameterNode
    every = node.lookEvery
    return newConfig(
        _folder(node.datasetFolder, "dataset"),
        node.preset,
        name=node.runName,
        startModel=node.startModel,
        iterations=node.iterations,
        device=node.device,
        precision=node.precision,
        library=library,
        **({"monitor": {"validate_every": every, "sample_every": every}} if every else {}),
    )


def newConfig(
    dataset: Path,
    preset: str,
    name: str = "",
    startModel: str = "",
    iterations: int = 0,
    device: str = "auto",
    precision: str = "auto",
    library: ModelLibrary | None = None,
    **changes: Any,
) -> Any:
    """The ``TrainConfig`` of a preset for a dataset; empty texts, 0 and "auto" leave what the preset says.

    ``startModel``: a name or path that ``library`` knows. ``changes``: further fields of ``TrainConfig``. Raises
    InputError.
    """
    changes.setdefault("license", OWN_LICENSE + (", and of the model that it started from" if startModel else ""))
    if startModel:
        changes["start_from"] = str(library.describe(startModel).path if library is not None else startModel)
    if iterations:
        changes["iterations"] = iterations
    if precision and precision != "auto":
        changes["precision"] = precision
    if device:
        changes["device"] = device
    config = preset_config(preset, Path(dataset), **changes)
    return replace(config, name=name.strip()) if name.strip() else config


def newRunFolder(parent: str | Path, name: str, home: Path) -> Path:
    """A folder for a new run called ``name`` in ``parent`` (empty: ``home``) that is not there yet."""
    folder = Path(parent).expanduser() if str(parent) else home
    safe = safeName(name) or "run"
    candidates = (folder / (safe if number == 1 else f"{safe}-{number}") for number in range(1, 10_000))
    return next(path for path in candidates if not path.exists())


def safeName(text: str) -> str:
    """A text as part of a file name; empty where nothing of it can be."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("._")[:MAX_NAME]


def _folder(text: str, what: str) -> Path:
    if not text.strip():
        raise InputError(f"Choose the {what} folder first.")
    return Path(text).expanduser().absolute()
