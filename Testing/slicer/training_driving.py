"""What the tests of MedDDPM Training in the application share: its panel, small scans, waiting for a training."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from driving import ModuleTestCase, openModule, processes, waitUntil

# 24 cubed voxels of 8 mm: a step takes a moment on any processor.
TINY_GRID = "24x24x24:8:LPS"
# A training gives way to everything else on the machine, which can be said to be a busy one.
TRAINING_SECONDS = 55.0


class TrainingTestCase(ModuleTestCase):
    """A test of MedDDPM Training, with a folder of its own, that ends every training that it began."""

    module = "MedDDPMTraining"

    def setUp(self) -> None:
        """See ModuleTestCase."""
        super().setUp()
        self.folder = Path(tempfile.mkdtemp(prefix="medddpm-training-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def endWork(self) -> None:
        """Stop the trainings."""
        for run in list(self.service.runs.summaries):
            endTraining(self.service, run.path)

    def scanned(self) -> Any:
        """Write the sample scans and look at them; returns the table."""
        self.panel("makeSampleScans").makeSampleScans(self.folder / "scans")
        waitUntil(lambda: self.context.scan is not None and self.ui.CasesTable.rowCount, "the scan")
        return self.context.scan

    def prepared(self) -> Path:
        """Prepare the sample scans on a tiny grid by the panel; returns the dataset folder."""
        self.scanned()
        self.parameters.grid = TINY_GRID
        self.parameters.datasetFolder = str(self.folder / "dataset")
        self.parameters.validation = 0.2
        waitUntil(lambda: self.ui.PrepareButton.enabled and self.ui.PrepareButton.text == "Prepare", "Prepare")
        self.ui.PrepareButton.click()
        preparation = self.service.preparation
        waitUntil(lambda: preparation.finished, "the preparation")
        self.assertEqual(preparation.state.name, "DONE", f"{preparation.message}\n{preparation.details()}")
        return self.folder / "dataset"

    def started(self, steps: int, every: int = 10) -> str:
        """Press Start; returns the folder of the training."""
        parameters = self.parameters
        parameters.preset, parameters.precision = "demo", "fp32"
        parameters.runsFolder, parameters.iterations, parameters.lookEvery = str(self.folder / "runs"), steps, every
        waitUntil(lambda: self.ui.StartButton.enabled, "the Start button")
        self.ui.StartButton.click()
        self.assertTrue(self.context.chosen, self.ui.TrainMessageLabel.text)
        return self.context.chosen

    def waitForState(self, path: str, *names: str) -> Any:
        """Wait until a training is in one of these states; returns its summary."""
        waitUntil(lambda: self.state(path) in (*names, "failed"), f"the state {names}", TRAINING_SECONDS)
        run = self.service.runs.of(path)
        self.assertIn(self.state(path), names, run.details())
        return run.look()

    def state(self, path: str) -> str:
        """The state of a training, as it is now on the disk."""
        return self.service.runs.of(path).look().state.value

    def press(self, name: str) -> None:
        """Press a button as soon as it can be pressed."""
        button = getattr(self.ui, name)
        waitUntil(lambda: button.enabled, f"{name} ({button.toolTip})")
        button.click()


def openTraining() -> Any:
    """Open the module; returns its widget (``MedDDPMTrainingWidget``)."""
    return openModule("MedDDPMTraining")


def endTraining(service: Any, path: Path) -> None:
    """Stop a training and wait for its end."""
    run = service.runs.of(path)
    if run.look().state.value == "running":
        run.stop()
        waitUntil(lambda: run.look().state.value != "running", "the end of a training")


def trainingProcesses(path: str) -> list[int]:
    """Process IDs of what trains a run; for Linux. PythonSlicer, a launcher, may appear as well."""
    return processes("medddpm.training", str(path))
