"""What the panel or a script asks of the core, a preparation or a training; what it answers, and what a dataset is."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from medddpm.dataset import SPLITS, read_dataset_config
from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.jobs.events import State
from medddpm.options import option
from medddpm.preparation.options import PrepareOptions
from medddpm.sampling.names import DEVICE_HELP, DEVICES, PRECISION_HELP, PRECISIONS
from medddpm.training.config import ON_HELP
from medddpm.training.presets import PRESETS, preset_config
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import JobMonitor, nothingAsked
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.RequestOptions import valuesOf
from MedDDPMSlicerLib.Texts import counted, gridText

MAX_NAME = 60
PREPARE = "prepare"
INTERRUPTED_SENTENCE = (
    "The preparation was interrupted because Slicer ended. Press 'Resume the interrupted preparation'."
)
MAX_BYTES = 64 * 2**20
# Whoever trains on scans knows under which rules they are; a model can remember its training images.
OWN_LICENSE = "By the rules of the scans that it was trained on"
_TITLES = {
    "brats": "BraTS (as published)",
    "whole-head": "Whole head (as published)",
    "demo": "Demo (residual network)",
    "compact": "Compact network",
    "pix2pix": "Pix2Pix (GAN)",
    "discogan": "DiscoGAN (GAN)",
}
# Parameters in scenes of former versions.
_FORMER = {"validationShare": "validation", "testShare": "test", "splitSeed": "seed"}


@dataclass(frozen=True)
class TrainChoices:
    """What the panel asks of a training beside its dataset; what is left out, or automatic, is as the preset says."""

    preset: str = option(
        "brats",
        "Network and settings of the training. The line below says what each preset is for.",
        choices={name: _TITLES.get(name, name) for name in PRESETS},
    )
    iterations: int | None = option(
        None,
        "Number of iterations. More is better until the verdict says that the loss no longer improves; you can stop or "
        "add steps at any time.",
        label="Steps",
        low=1,
    )
    look_every: int | None = option(
        None,
        "After how many steps the training shows what it makes of held-out masks, and measures its error on them.",
        label="Samples every",
        low=1,
    )
    device: str = option("auto", DEVICE_HELP, choices=DEVICES, more=True)
    precision: str = option("auto", PRECISION_HELP, choices=PRECISIONS)
    on: str = option("", ON_HELP, label="Compute on", metavar="HOST")


def renewed(parameterNode: Any) -> Any:
    """A vtkMRMLScriptedModuleNode in which parameters of former versions have the names of today."""
    for former, name in _FORMER.items():
        if parameterNode.GetParameter(former):
            parameterNode.SetParameter(name, parameterNode.GetParameter(former))
            parameterNode.UnsetParameter(former)
    return parameterNode


def prepareRequest(parameterNode: Any) -> dict[str, Any]:
    """The fields of ``PrepareOptions``. Raises InputError naming a choice that does not fit."""
    node = parameterNode
    return PrepareOptions(
        source=str(_folder(node.sourceFolder, "source")),
        out=str(_folder(node.datasetFolder, "dataset")),
        table=node.tableFile or None,
        modalities=tuple(str(name) for name in node.modalities),
        template=(node.template or None) if node.register == "template" else None,
        labels=node.labels.strip() or None,
        leave_out=tuple(str(case) for case in node.leaveOut),
        **valuesOf(node, PrepareOptions),
    ).to_dict()


def trainConfig(parameterNode: Any, library: ModelLibrary) -> Any:
    """The ``TrainConfig`` of what was chosen. Raises InputError naming what is missing or does not fit."""
    node, chosen = parameterNode, valuesOf(parameterNode, TrainChoices)
    every = chosen.pop("look_every")
    monitor = {"monitor": {"validate_every": every, "sample_every": every}} if every else {}
    dataset = _folder(node.datasetFolder, "dataset")
    return newConfig(dataset, name=node.runName, startModel=node.startModel, library=library, **chosen, **monitor)


def newConfig(
    dataset: Path,
    preset: str,
    name: str = "",
    startModel: str = "",
    iterations: int | None = None,
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


def datasetSentence(folder: str | Path) -> str:
    """What a person should know of a prepared dataset before training on it; read again only where it has changed.

    Raises InputError where the folder is none, or has no case to train on.
    """
    path = Path(folder).expanduser()
    if not str(folder) or not path.is_dir():
        raise InputError(f"The folder {folder} does not exist. Prepare a dataset, or choose another folder.")
    try:
        return _datasetSentence(path, (path / "dataset.json").stat().st_mtime_ns)
    except OSError as exc:
        raise InputError(
            f"{path} is not a prepared dataset: it has no dataset.json. Prepare your scans first, or choose the folder "
            "that a preparation wrote."
        ) from exc


@lru_cache(maxsize=4)
def _datasetSentence(path: Path, _modified: int) -> str:
    config = read_dataset_config(path)
    counts = Counter(case.split for case in config.cases)
    if not counts["train"]:
        raise InputError(f"The dataset {path} has no case to train on. Prepare it again with smaller test shares.")
    parts = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    grid = gridText(config.grid.shape, config.grid.spacing)
    return f"{counted(len(config.cases), 'case')} ({parts}), {', '.join(config.modalities)}, {grid}."


def _folder(text: str, what: str) -> Path:
    if not text.strip():
        raise InputError(f"Choose the {what} folder first.")
    return Path(text).expanduser().absolute()


@dataclass(frozen=True)
class PrepareResult:
    """What a preparation made: the ``dataset`` folder, its ``report`` (an HTML page), counts."""

    dataset: Path
    report: Path
    cases: int
    leftOut: int
    flags: int

    @property
    def sentence(self) -> str:
        """What is said at its end."""
        left = f" {self.leftOut} were left out." if self.leftOut else ""
        flags = f" {self.flags} warnings are in the report." if self.flags else ""
        return f"{self.cases} cases are prepared.{left}{flags}"


def recovered(jobs: JobMonitor) -> Job:
    """The preparation that an earlier session left: its result is taken, an interrupted one can be asked for again.

    What was computed stays in the dataset folder, so that starting again goes on where it ended.
    """
    for job in [*jobs.done(), *reversed(jobs.unfinished())]:
        if job.kind != PREPARE or job.folder is None:
            continue
        job.message = INTERRUPTED_SENTENCE
        if job.state is State.DONE:
            try:
                job.result = readPrepared(job.folder.outputs)
                job.message = job.result.sentence
            except InputError as exc:
                job.state, job.message = State.FAILED, str(exc)
        job.discard()
        return job
    return nothingAsked(jobs)


def readPrepared(outputs: Path) -> PrepareResult:
    """What a preparation made. Raises InputError."""
    problem = "The result of the preparation could not be read. Prepare again."
    data = read_json(outputs / "result.json", MAX_BYTES, problem)
    try:
        counts = int(data["cases"]), len(data["left_out"]), len(data["flags"])
        return PrepareResult(Path(data["dataset"]), Path(data["report"]), *counts)
    except (KeyError, TypeError, ValueError) as exc:
        raise InputError(problem) from exc
