"""A service of MedDDPM Training with real workers, and run folders as trainings write them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from medddpm.config import NetworkConfig
from medddpm.jobs.events import Event
from medddpm.training.config import TrainConfig
from medddpm.training.run import RunFolder
from MedDDPMSlicerLib.Storage import Settings, Storage
from MedDDPMTrainingLib.TrainingService import TrainingService
from waiting import pollUntil

CORE_TESTS = Path(__file__).resolve().parents[1] / "core"
if str(CORE_TESTS) not in sys.path:
    sys.path.append(str(CORE_TESTS))  # the phantoms of whole data sets are those of the core's tests

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])


def newService(root: Path, python: str | list[str], **more: Any) -> TrainingService:
    """A service on the current scene; what is not installed here does not matter, its processes have their own.

    ``python``: their interpreter, with leading arguments where it is a list.
    """
    more.setdefault("settings", Settings())
    more.setdefault("missing", lambda use: [])
    return TrainingService(Storage(root), [python] if isinstance(python, str) else python, **more)


def lentService(root: Path, python: str, **more: Any) -> Iterator[TrainingService]:
    """For a fixture: a service that leaves its warm workers for the next test, but no job."""
    service = newService(root, python, **more)
    yield service
    service.preparation.cancel()
    service.estimate.cancel()
    service.scan.cancel()
    pollUntil(service, lambda: not service.toolsJobs.active and not service.preparationJobs.active)
    service.view.release()
    service.detach()


def requirePackages(python: str, *names: str) -> None:
    """Skip the test where the interpreter of the processes lacks a package."""
    look = "import sys, importlib.util as u; sys.exit(any(u.find_spec(name) is None for name in sys.argv[1:]))"
    if subprocess.run([python, "-c", look, *names], check=False).returncode:
        pytest.skip(f"{', '.join(names)} needed in the worker's Python (name one in MEDDDPM_WORKER_PYTHON)")


def tinyConfig(dataset: str | Path = "data", **changes: Any) -> TrainConfig:
    """A training that takes no time."""
    network = NetworkConfig(2, 4, base_channels=8, multipliers=(1, 2), groups=4)
    return TrainConfig(str(dataset), network, **{"iterations": 100, "name": "tiny", **changes})


def newRun(folder: Path, **changes: Any) -> RunFolder:
    """A run that nobody has started."""
    run = RunFolder(folder)
    run.create(tinyConfig(**changes))
    return run


def trained(run: RunFolder, iterations: int, end: str | None = "done", message: str | None = None) -> RunFolder:
    """What a training of so many iterations writes, up to its ``end`` (an event; None: it goes on)."""
    run.append(Event("started"))
    for done in range(10, iterations + 1, 10):
        run.metrics.append("train", done, loss=1 / done, lr=1e-3, seconds_per_iteration=0.1)
        run.append(Event("step", stage="train", step=done, total=100, seconds_left=(100 - done) * 0.1))
    if end is not None:
        run.append(Event(end, message=message, exit_code=0 if end == "done" else 3))
    return run


def writeSamples(run: RunFolder, iteration: int, case: str = "c1", whole: bool = True) -> np.ndarray:
    """Samples T1 and FLAIR of a held-out case as a training writes them; the synthetic ones are brighter by the
    iteration than the real one, which is returned (X, Y, Z).
    """
    write_image = niftiWriter()
    folder = run.samples / f"iteration-{iteration:08d}" / case
    folder.mkdir(parents=True, exist_ok=True)
    data = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)
    for modality in ("T1", "FLAIR"):
        write_image(folder / f"real-{modality}.nii.gz", data, AFFINE, "REAL")
        write_image(folder / f"synthetic-{modality}.nii.gz", data + iteration, AFFINE, "SYNTHETIC")
    write_image(folder / "mask.nii.gz", (data > 100).astype(np.uint8), AFFINE, "mask")
    if whole:
        (folder / "sheet.png").write_bytes(b"a picture")
    return data


def niftiWriter() -> Callable[..., None]:
    """The core's writer of images; skips the test where nibabel is not installed."""
    if importlib.util.find_spec("nibabel") is None:
        pytest.skip("nibabel is needed to write images")
    from medddpm.geometry.nifti import write_image

    return write_image


def parameters(**values: Any) -> SimpleNamespace:
    """What a parameter node holds."""
    known = {
        "sourceFolder": "",
        "layout": "auto",
        "tableFile": "",
        "scheme": "brats",
        "grid": "24x32x24:8:LPS",
        "modalities": [],
        "register": "none",
        "template": "",
        "intensities": "percentile",
        "outline": "auto",
        "labels": "",
        "validation": 0.0,
        "test": 0.0,
        "seed": 0,
        "workers": 1,
        "leaveOut": [],
        "leaveOutFlagged": False,
        "datasetFolder": "",
        "preset": "demo",
        "startModel": "",
        "iterations": 0,
        "lookEvery": 0,
        "device": "cpu",
        "precision": "fp32",
        "on": "",
        "runsFolder": "",
        "runName": "",
        "chosenRun": "",
        "showSamples": True,
        "sampleCase": "",
        "sampleModality": "",
    }
    return SimpleNamespace(**{**known, **values})
