"""A second Slicer that starts a training and is closed while it goes on; for the self-test.

The first Slicer calls ``begin``; the second one, without a main window, runs ``trainAndLeave``. They share the folder
of the user's trainings, and a folder for what they tell each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import medddpm
import MedDDPMSlicerLib
import slicer
from medddpm.files import write_text
from MedDDPMSlicerLib.Storage import ROOT_VARIABLE

FOLDER_VARIABLE = "MEDDDPM_SELF_TEST"
# The files in that folder: what to train, what became of it, what the second Slicer printed.
ORDER, ANSWER, LOG = "order.json", "answer.json", "other-slicer.log"
MODULE = "MedDDPMTraining"
CODE = "from MedDDPMTrainingLib.OtherSlicer import trainAndLeave; trainAndLeave()"
# Until its first steps are done: packages are imported for the first time there.
TRAINING_SECONDS = 300.0


def program() -> Path | None:
    """The program of this Slicer; None where it runs in another one, such as PythonSlicer."""
    for name in ("launcherExecutableFilePath", "applicationFilePath"):
        found = getattr(slicer.app, name, "")
        path = Path(str(found() if callable(found) else found))
        if path.is_file() and "python" not in path.name.lower():
            return path
    return None


def begin(folder: Path, order: dict[str, Any], storageRoot: Path) -> subprocess.Popen[bytes] | None:
    """Start a Slicer that trains as ``order`` says (arguments of ``TrainingLogic.train``); returns its process.

    None where this program is no Slicer that could be started, or cannot be started now.
    """
    path = program()
    if path is None:
        return None
    write_text(folder / ORDER, json.dumps(order))
    modules = str(Path(slicer.util.modulePath(MODULE)).parent)
    command = [str(path), "--testing", "--no-splash", "--no-main-window", "--additional-module-paths", modules]
    libraries = [str(Path(package.__file__).parents[1]) for package in (medddpm, MedDDPMSlicerLib)]
    changed = {
        "PYTHONPATH": os.pathsep.join([*libraries, os.environ.get("PYTHONPATH", "")]),
        ROOT_VARIABLE: str(storageRoot),
        FOLDER_VARIABLE: str(folder),
    }
    try:
        with (folder / LOG).open("wb") as log:
            return subprocess.Popen(
                [*command, "--python-code", CODE],
                env={**os.environ, **changed},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
    except OSError:
        return None


def answer(folder: Path) -> dict[str, str]:
    """What the second Slicer tells: ``run``, the folder of its training, or ``problem``; empty before."""
    try:
        return dict(json.loads((folder / ANSWER).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def trainAndLeave() -> None:
    """Start the training, wait for its first steps, tell of it and quit. For the second Slicer."""
    folder = Path(os.environ[FOLDER_VARIABLE])
    try:
        told = {"run": str(_train(json.loads((folder / ORDER).read_text(encoding="utf-8"))))}
    except Exception as exc:
        told = {"problem": f"{type(exc).__name__}: {exc}"}
    write_text(folder / ANSWER, json.dumps(told))
    slicer.util.exit(0)


def _train(order: dict[str, Any]) -> Path:
    from .TrainingLogic import TrainingLogic

    logic = TrainingLogic()
    run = logic.train(**order)
    end = time.monotonic() + TRAINING_SECONDS
    while run.summary.iteration < 1:
        if run.finished or time.monotonic() > end:
            raise RuntimeError(run.message or f"The training took no step within {TRAINING_SECONDS:g} s.")
        logic.service.poll()
        slicer.app.processEvents()
        time.sleep(0.02)
    return run.folder
