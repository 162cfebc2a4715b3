"""Takes the pictures of the tutorial on training: 3D Slicer works through it with the sample scans.

    Slicer --testing --no-splash --additional-module-paths MedDDPMSynth MedDDPMTraining SegmentEditorMedDDPM \\
        --python-script Testing/slicer/training_screenshots.py OUTFOLDER WORKFOLDER

is run in the clone, with ``MedDDPMCore`` and ``MedDDPMSlicer`` on ``PYTHONPATH``. That Slicer needs torch and what
training needs. WORKFOLDER is new, or holds the scans, the dataset and the training of an earlier call, which is gone on
with: training long enough for pictures takes a while.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import slicer

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driving import openModule, rest, waitUntil
from MedDDPMTrainingLib.SampleScans import FOLDER, sampleScans
from photography import prepareWindow, savePicture, scroll
from training_driving import endTraining, openTraining

SECTIONS = ("Source", "Prepare", "Train", "Runs", "Storage")
# Coarse enough for a processor.
GRID = "32x40x32:5:LPS"
STEPS, EVERY = 400, 50
# After so many steps there is something to be seen.
ENOUGH = 300
PATIENCE = 900.0


class Photographer:
    """The module in its window, brought into the states of the tutorial; pictures go to ``out``."""

    def __init__(self, out: Path, work: Path) -> None:
        self.out, self.work = out, work
        self.widget = openTraining()
        self.ui, self.context = self.widget.ui, self.widget.context
        prepareWindow()

    @property
    def parameters(self) -> Any:
        """The parameter node of the scene."""
        return self.widget.logic.parameterNode()

    def scans(self) -> None:
        """Step 2: the cases of a folder, with a lost image and a stranger among them."""
        source = self.work / FOLDER
        if not source.is_dir():
            for _ in sampleScans(source):
                slicer.app.processEvents()
        troubled = self.work / "troubled" / FOLDER
        shutil.rmtree(troubled.parent, ignore_errors=True)
        shutil.copytree(source, troubled)
        (troubled / "Sample_03" / "Sample_03_flair.nrrd").unlink()
        shutil.copy(source / "Sample_02" / "Sample_02_t1.nrrd", troubled / "Sample_02" / "Sample_02_T1_old.nrrd")
        self.parameters.sourceFolder = str(troubled)
        waitUntil(lambda: self.context.scan is not None and self.ui.CasesTable.rowCount, "the scan", PATIENCE)
        self.show("Source", "Prepare")
        self.picture("training-1-scans", self.ui.SourceSection)
        shutil.rmtree(troubled.parent)

    def preparing(self) -> None:
        """Step 4: a preparation under way."""
        self.parameters.sourceFolder = str(self.work / FOLDER)
        waitUntil(lambda: self.context.scan is not None, "the scan", PATIENCE)
        self.parameters.grid = "demo-2mm"
        self.parameters.datasetFolder = str(self.work / "for-the-picture")
        waitUntil(lambda: self.ui.PrepareButton.enabled, "the Prepare button")
        self.ui.PrepareButton.click()
        preparation = self.widget.logic.service.preparation
        cases = lambda: preparation.stage == "prepare" and (preparation.step or 0) >= 2  # noqa: E731
        waitUntil(lambda: preparation.finished or cases(), "two cases", PATIENCE)
        self.show("Source", "Prepare")
        self.picture("training-2-preparing", self.ui.PrepareSection, settle=0.1)
        waitUntil(lambda: preparation.finished, "the preparation", PATIENCE)
        shutil.rmtree(self.work / "for-the-picture")

    def starting(self) -> None:
        """Step 5: what a training takes, before it starts."""
        self.prepare()
        self.parameters.preset, self.parameters.iterations, self.parameters.runName = "demo", STEPS, "Glioma 5 mm"
        self.parameters.lookEvery, self.parameters.runsFolder = EVERY, str(self.work / "runs")
        self.show("Train")
        waitUntil(lambda: "memory" in self.ui.EstimateLabel.text, "the estimate", PATIENCE)
        self.picture("training-3-starting", self.ui.TrainSection)

    def watching(self) -> None:
        """Step 6: charts and samples of a training that goes on."""
        path = self.train()
        view = self.widget.logic.service.view
        self.show("Runs")
        waitUntil(lambda: self.ui.WatchButton.enabled, "the button for the views")
        self.ui.WatchButton.click()
        waitUntil(lambda: view.samples and view.samples[0].iteration >= ENOUGH, "the samples", PATIENCE)
        waitUntil(lambda: view.pair() is not None, "the volumes")
        self.ui.SampleModalityComboBox.setCurrentText("T1ce")
        self.ui.SampleModalityComboBox.activated.emit(self.ui.SampleModalityComboBox.currentIndex)
        self.ui.MoreStepsSpinBox.value = STEPS
        waitUntil(lambda: self.ui.ExtendButton.enabled or self.ui.PauseButton.enabled, "the buttons")
        if not self.ui.PauseButton.enabled:
            (self.ui.ResumeButton if self.ui.ResumeButton.enabled else self.ui.ExtendButton).click()
        waitUntil(lambda: "left" in self.ui.RunProgressLabel.text, "the time left", PATIENCE)
        rest(2.0)
        self.picture("training-4-watching", self.ui.RunsSection)
        endTraining(self.widget.logic.service, path)

    def using(self) -> None:
        """Step 9: the model in MedDDPM Synth."""
        waitUntil(lambda: self.ui.UseButton.enabled, "the button")
        self.ui.UseButton.click()
        synth = openModule()
        synth.ui.SampleCaseButton.click()
        waitUntil(lambda: synth.ui.SampleCaseButton.enabled, "the sample case")
        if not synth.context.agreed:
            synth.ui.ModelTermsButton.click()
        waitUntil(lambda: synth.ui.GenerateButton.enabled, "Generate")
        synth.ui.GenerateButton.click()
        run = synth.logic.service.run
        waitUntil(lambda: run.finished, "the generation", PATIENCE)
        for name in ("Mask", "Edit", "Batch", "Storage"):
            getattr(synth.ui, f"{name}Section").collapsed = True
        waitUntil(lambda: synth.ui.ResultsTable.rowCount == 1, "the row of the sample")
        slicer.util.resetSliceViews()
        self.picture("training-5-used", synth.ui.ModelSection)

    # What the steps share

    def prepare(self) -> None:
        """A dataset that training is quick on."""
        dataset = self.work / "dataset"
        self.parameters.sourceFolder = str(self.work / FOLDER)
        self.parameters.grid, self.parameters.datasetFolder = GRID, str(dataset)
        if (dataset / "dataset.json").is_file():
            return
        waitUntil(lambda: self.ui.PrepareButton.enabled, "the Prepare button")
        self.ui.PrepareButton.click()
        waitUntil(lambda: self.widget.logic.service.preparation.finished, "the preparation", PATIENCE)

    def train(self) -> Path:
        """A training of the earlier call, else a new one; returns its folder."""
        known = sorted((self.work / "runs").glob("*/job.json"))
        if known:
            path = self.widget.logic.service.runs.add(known[0].parent).folder
            self.context.choose(path)
            return path
        waitUntil(lambda: self.ui.StartButton.enabled, "the Start button")
        self.ui.StartButton.click()
        return Path(self.context.chosen)

    def show(self, *sections: str) -> None:
        """Open these sections only."""
        for name in SECTIONS:
            getattr(self.ui, f"{name}Section").collapsed = name not in sections
        rest(0.3)

    def picture(self, name: str, scrollTo: Any, settle: float = 0.6) -> None:
        """Save a picture, with the panel scrolled to a widget."""
        rest(settle)
        scroll(scrollTo)
        slicer.util.forceRenderAllViews()
        rest(settle)
        savePicture(self.out / f"{name}.png")


def main(arguments: list[str]) -> None:
    """Take the pictures."""
    out, work = Path(arguments[0]), Path(arguments[1])
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    shots = Photographer(out, work)
    for step in (shots.scans, shots.preparing, shots.starting, shots.watching, shots.using):
        if not arguments[2:] or step.__name__ in arguments[2:]:
            step()
    slicer.mrmlScene.Clear(0)
    slicer.util.exit(0)


main(sys.argv[1:])
