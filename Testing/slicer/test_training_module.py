"""MedDDPM Training in the application: from a folder of scans to a model that MedDDPM Synth uses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import unittest
import unittest.mock
from pathlib import Path

import qt
import slicer
from driving import OUT, grab, openModule, otherComputer, rest, say, waitUntil
from MedDDPMTrainingLib import RunLayout
from MedDDPMTrainingLib.Charts import REAL
from photography import scroll
from stalls import StallMeter
from training_driving import TRAINING_SECONDS, TrainingTestCase, endTraining, openTraining, trainingProcesses

HERE = Path(__file__).resolve().parent
BUTTONS = (
    *("ScanButton", "PrepareButton", "ReportButton", "StartButton", "PauseButton", "ResumeButton", "StopButton"),
    *("ExtendButton", "UseButton", "OpenRunButton", "ForgetRunButton", "DeleteRunButton", "WatchButton"),
    *("RunDetailsButton", "RemoveRememberedButton"),
)


class ElsewhereTest(TrainingTestCase):
    """On another computer, which is this one behind a stand-in for ssh."""

    def testTrainingOnAnotherComputer(self) -> None:
        """Asked once; the course is shown here; a pause brings it back, and it goes on to its end."""
        home, asked = otherComputer(self), []
        answers = [False, True]
        self.prepared()
        self.context.set("on", f"box:{home / 'medddpm'}")
        with unittest.mock.patch.object(
            slicer.util, "confirmOkCancelDisplay", lambda text, *_: asked.append(text) or answers.pop(0)
        ):
            self.parameters.preset, self.parameters.precision, self.parameters.iterations = "demo", "fp32", 400
            self.parameters.runsFolder, self.parameters.lookEvery = str(self.folder / "runs"), 40
            waitUntil(lambda: self.ui.StartButton.enabled, "the Start button")
            self.ui.StartButton.click()
            self.assertFalse(self.context.chosen)  # No was the answer
            path = self.started(400, 40)
        self.assertEqual(len(asked), 2)
        self.assertIn("'box:", asked[0])
        run = self.service.runs.of(path)
        waitUntil(lambda: run.look().iteration >= 60, "some steps there", TRAINING_SECONDS)
        self.ui.TrainAdvancedGroup.collapsed = False
        slicer.app.processEvents()
        scroll(self.ui.StartButton)
        grab("training-elsewhere")
        self.press("PauseButton")
        self.waitForState(path, "paused")
        self.assertTrue(run.modelFolder.is_dir())
        jobs = home / "cache/medddpm/jobs"
        self.assertFalse([job for job in jobs.iterdir() if job.is_dir()], "nothing stays there")
        done = run.look().iteration
        self.press("ResumeButton")
        waitUntil(lambda: run.look().iteration > done + 20, "further steps", TRAINING_SECONDS)
        self.press("StopButton")
        self.waitForState(path, "cancelled")


class PanelTest(TrainingTestCase):
    """What the panel says before anything is computed."""

    def testEveryDisabledButtonSaysWhy(self) -> None:
        """In an empty scene, buttons that are disabled have another tooltip than usual, a sentence."""
        rest(1.0)
        for name in BUTTONS:
            button = getattr(self.ui, name)
            with self.subTest(button=name):
                self.assertFalse(button.enabled)
                self.assertNotEqual(button.toolTip, button.property("MedDDPMTip"))
                self.assertRegex(button.toolTip, r"\.(</p>)?$")

    def testSourceWithProblems(self) -> None:
        """A half-copied file, a lost one and a stranger are named; leaving them out clears the way."""
        self.scanned()
        scans = self.folder / "scans"
        broken = scans / "Sample_02" / "Sample_02_t2.nrrd"
        broken.write_bytes(broken.read_bytes()[:200])
        (scans / "Sample_03" / "Sample_03_flair.nrrd").unlink()
        (scans / "Sample_01" / "notes_old.nrrd").write_bytes(b"no image")
        self.press("ScanButton")
        waitUntil(lambda: self.service.scan.finished and "Fix 3 problems" in self.ui.ScanStatusLabel.text, "the scan")
        for word in ("Sample_02_t2.nrrd", "FLAIR", "notes_old.nrrd"):
            waitUntil(lambda word=word: word in self._explanations(), f"a line on {word}", 4)
        self.assertFalse(self.ui.PrepareButton.enabled)
        grab("training-problems")
        self.press("LeaveOutButton")
        waitUntil(lambda: self.ui.PrepareButton.enabled, "the way to prepare")
        self.assertLessEqual({"Sample_02", "Sample_03"}, set(self.parameters.leaveOut))
        self.ui.CasesTable.item(self.ui.CasesTable.rowCount - 1, 0).setCheckState(qt.Qt.Unchecked)
        self.assertIn("Sample_06", self.parameters.leaveOut)
        self.press("UseAllButton")
        self.assertEqual(list(self.parameters.leaveOut), [])

    def _explanations(self) -> str:
        """All that the table says is wrong."""
        items = [self.ui.CasesTable.item(row, 3) for row in range(self.ui.CasesTable.rowCount)]
        return "\n".join(item.text() for item in items if item is not None)

    def testNamesOfCasesAreReadWhole(self) -> None:
        """Without problems the names have the room; beside sentences they keep what they need of it."""
        self.scanned()
        waitUntil(lambda: self.ui.CasesTable.item(5, 1) is not None, "the names")
        rest(0.5)
        table = self.ui.CasesTable
        grab("training-scans")
        self.assertGreater(table.columnWidth(1), table.columnWidth(3), "no problems, no room for them")
        self.assertGreater(table.columnWidth(1), qt.QFontMetrics(table.font).boundingRect("Sample_01").width() + 10)

    def testPresetThatFits(self) -> None:
        """A preset that nobody chose and that is too large makes way for the compact one; a choice stays."""
        from MedDDPMSlicerLib.Jobs import Estimate

        panel = self.panel("start")
        self.assertEqual(self.parameters.preset, "brats")
        panel._offerPreset(Estimate(True, "It fits.", 60.0))
        self.assertEqual(self.parameters.preset, "brats")
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        self.parameters.datasetFolder = str(self.folder)
        panel._offerPreset(Estimate(True, "It takes a year.", 365 * 24 * 3600.0))
        self.assertEqual(self.parameters.preset, "compact")
        self.assertIn("too large for this computer", self.ui.PresetLabel.text)
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        panel._set("preset", "brats")
        panel._offerPreset(Estimate(False, "It will not fit."))
        self.assertEqual(self.parameters.preset, "brats")

    def testCancelPreparationAndGoOn(self) -> None:
        """Cancel ends it; preparing again goes on where it was and ends with a dataset and a report."""
        self.scanned()
        self.parameters.datasetFolder = str(self.folder / "dataset")
        self.press("PrepareButton")
        self.assertEqual(self.ui.PrepareButton.text, "Cancel")
        preparation = self.service.preparation
        waitUntil(lambda: (preparation.step or 0) >= 1 or preparation.finished, "the first case")
        if not preparation.finished:
            self.press("PrepareButton")
        waitUntil(lambda: preparation.finished, "the cancel")
        self.assertIn(preparation.state.name, ("CANCELLED", "DONE"))
        self.press("PrepareButton")
        preparation = self.service.preparation
        waitUntil(lambda: preparation.finished, "the preparation")
        self.assertEqual(preparation.state.name, "DONE", preparation.message)
        waitUntil(lambda: self.ui.ReportButton.enabled and "6 cases" in self.ui.DatasetLabel.text, "the dataset")

    def testChoicesAreSavedWithTheScene(self) -> None:
        """After closing the scene the choices are as at first; after loading it as they were, also in the panel."""
        parameters, path = self.parameters, self.folder / "choices.mrml"
        parameters.sourceFolder, parameters.preset, parameters.iterations = str(self.folder), "demo", 77
        parameters.leaveOut = ["Sample_02"]
        self.assertTrue(slicer.util.saveScene(str(path)))
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        self.assertEqual((self.parameters.sourceFolder, self.parameters.preset), ("", "brats"))
        self.assertEqual(self.panel("start").options[1].widgets["iterations"].value, 0)
        slicer.util.loadScene(str(path))
        slicer.app.processEvents()
        self.assertEqual((self.parameters.sourceFolder, self.parameters.preset), (str(self.folder), "demo"))
        self.assertEqual((self.parameters.iterations, list(self.parameters.leaveOut)), (77, ["Sample_02"]))
        self.assertEqual(self.panel("start").options[1].widgets["iterations"].value, 77)

    def testModuleReloaded(self) -> None:
        """The new panel works, and remembers nothing of the old one's widgets."""
        slicer.util.reloadScriptedModule("MedDDPMTraining")
        self.widget = openTraining()
        self.ui, self.context = self.widget.ui, self.widget.context
        self.scanned()
        self.assertEqual(self.ui.CasesTable.rowCount, 6)

    def testCleanupAfterFailedSetup(self) -> None:
        """A panel whose setup failed can still be entered, left and cleaned up."""
        from MedDDPMTraining import MedDDPMTrainingWidget

        broken = MedDDPMTrainingWidget.__new__(MedDDPMTrainingWidget)
        MedDDPMTrainingWidget.__init__(broken, slicer.qMRMLWidget())
        broken.enter()
        broken.exit()
        broken.onSceneStart()
        broken.onSceneEnd()
        broken.removeObservers()


class WholeWayTest(TrainingTestCase):
    """Scans, dataset, training, watching, pausing, going on, using the model."""

    def testFromScansToImages(self) -> None:
        """Everything that the tutorial tells."""
        self.prepared()
        waitUntil(lambda: "memory" in self.ui.EstimateLabel.text, "the estimate")
        say(f"estimate: {self.ui.EstimateLabel.text}")
        timers = self.service._timer, self.widget.timer
        path = self.started(steps=30)
        with StallMeter(*timers) as first:
            self.press("WatchButton")
            waitUntil(lambda: RunLayout.shown(slicer.app.layoutManager().layoutLogic().GetLayoutNode()), "the views")
            rest(1.0)  # all are drawn
        say(f"while the views are made: {first.summary()}")
        # The application itself switches the layout in one piece, and draws each view for the first time in one.
        self.assertLess(first.longestCpu, 0.5, first.summary())
        with StallMeter(*timers) as meter:
            self.waitForState(path, "done")
            self._checkViews(path)
        say(f"while training: {meter.summary()}")
        self.assertLess(meter.longestCallback, 0.25, meter.slowest)
        # With what the application itself draws, without a graphics card, on a machine that may do other work.
        self.assertLess(meter.longestCpu, 0.6, meter.summary())
        grab("training-watched")
        self._goOn(path)
        self._pauseAndResume(path)
        self._useInSynth(path)

    def _checkViews(self, path: str) -> None:
        view = self.service.view
        waitUntil(lambda: view.samples and view.samples[0].iteration == 30, "the samples")
        waitUntil(lambda: view.pair() is not None, "the volumes of the samples")
        waitUntil(lambda: "after 30 steps" in self.ui.SamplesLabel.text, "the sentence on the samples")
        waitUntil(lambda: 30 in view.figures.curves("quality").get(REAL, {}), "the quality of the last samples")
        waitUntil(lambda: view.volumes.center(view.samples[0].case), "the place of the tumor")
        rest(1.0)
        real, synthetic = view.pair()
        sliceNode = slicer.mrmlScene.GetSingletonNode("MedDDPMReal", "vtkMRMLSliceNode")
        tumor = view.volumes.center(view.samples[0].case)
        self.assertAlmostEqual(sliceNode.GetSliceOffset(), tumor[2], delta=8.0)
        shown = {name: slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode") for name in _SLICES}
        self.assertEqual([shown[name].GetBackgroundVolumeID() for name in _SLICES], [real.GetID(), synthetic.GetID()])
        self.assertEqual(synthetic.GetAttribute("MedDDPM.synthetic"), "1")
        plot = slicer.mrmlScene.GetSingletonNode("MedDDPMLoss", "vtkMRMLPlotViewNode")
        self.assertEqual(plot.GetPlotChartNodeID(), view.charts.loss.GetID())
        self.assertGreaterEqual(len(view.figures.lines["validation"]), 3)
        self.assertTrue(view.summary.sentence)
        self.assertEqual(self.ui.RunMessageLabel.text, view.summary.sentence)

    def _goOn(self, path: str) -> None:
        """More steps for a training that is done."""
        self.ui.MoreStepsSpinBox.value = 5
        self.press("ExtendButton")
        waitUntil(lambda: self.service.runs.of(path).look().iteration == 35, "five more steps")
        self.assertEqual(self.waitForState(path, "done").total, 35)

    def _pauseAndResume(self, path: str) -> None:
        self.ui.MoreStepsSpinBox.value = 10_000
        self.press("ExtendButton")
        waitUntil(lambda: self.service.runs.of(path).look().iteration > 36, "further steps")
        self.press("PauseButton")
        paused = self.waitForState(path, "paused").iteration
        waitUntil(lambda: not trainingProcesses(path), "the end of the process")
        self.press("ResumeButton")
        waitUntil(lambda: self.service.runs.of(path).look().iteration > paused, "steps after the pause")
        self.press("StopButton")
        self.waitForState(path, "cancelled")
        waitUntil(lambda: not trainingProcesses(path), "the end of the process")

    def _useInSynth(self, path: str) -> None:
        self.press("UseButton")
        waitUntil(lambda: slicer.util.selectedModule() == "MedDDPMSynth", "MedDDPM Synth")
        synth = openModule()
        self.assertEqual(synth.logic.parameterNode().model, str(Path(path) / "outputs" / "model"))
        synth.ui.SampleCaseButton.click()
        waitUntil(lambda: synth.ui.SampleCaseButton.enabled, "the sample case")
        if not synth.context.agreed:
            synth.ui.ModelTermsButton.click()
        waitUntil(lambda: synth.ui.GenerateButton.enabled, "the Generate button")
        synth.ui.GenerateButton.click()
        run = synth.logic.service.run
        waitUntil(lambda: run.finished, "the generation")
        self.assertEqual((run.state.name, len(run.volumes)), ("DONE", 4), run.message)
        grab("training-used")


class SelfTestTest(TrainingTestCase):
    """What the button "Reload and Test" does."""

    def testSelfTest(self) -> None:
        """It prepares, trains, hands the model over, and leaves nothing behind."""
        from MedDDPMTraining import MedDDPMTrainingTest

        test, told = MedDDPMTrainingTest(), list[str]()
        test.delayDisplay = told.append
        test.runTest()
        self.assertEqual(told[-1], "The self-test passed")
        self.assertIn("Using its model", told)
        self.assertEqual(list(self.service.storage.runs.iterdir()), [])
        self.assertEqual(self.service.runs.summaries, [])


class OutlivesSlicerTest(TrainingTestCase):
    """A training that another application has started and left alone."""

    @unittest.skipUnless(hasattr(signal, "SIGKILL"), "looks at processes as Linux shows them")
    def testFoundAgain(self) -> None:
        """It goes on when its application has quit; here it is found, followed, and stopped by its button."""
        dataset = self.prepared()
        runs = self.folder / "elsewhere"
        path = self._trainElsewhere(dataset, runs)
        self.assertTrue(trainingProcesses(path), "the training ended with its application")
        before = self.service.runs.of(path).look().iteration
        waitUntil(lambda: self.service.runs.of(path).look().iteration > before, "further steps without any Slicer")
        self.panel("addFolder").addFolder(runs)
        waitUntil(lambda: self.context.chosen == path, "the training in the list")
        waitUntil(lambda: "Step" in self.ui.RunProgressLabel.text, "its progress")
        self.assertEqual(self.ui.RunsTable.item(0, 0).text(), "Left alone")
        self.assertEqual(self.ui.RunsTable.item(0, 1).text(), "running")
        self._closeScene(path)
        slicer.util.selectModule("Data")
        openTraining()
        waitUntil(lambda: self.ui.SourceSection.collapsed, "room for the running training")
        self.assertFalse(self.ui.RunsSection.collapsed)
        self.assertLess(self.ui.RunsSection.y, 300)
        grab("training-found-again")
        self.press("StopButton")
        self.waitForState(path, "cancelled")
        waitUntil(lambda: not trainingProcesses(path), "the end of the process")
        self.press("ForgetRunButton")
        waitUntil(lambda: self.service.runs.find(path) is None, "an empty list")

    def _closeScene(self, path: str) -> None:
        """Another scene: the training goes on and is followed again."""
        slicer.mrmlScene.Clear(0)
        waitUntil(lambda: self.context.chosen == path, "the training in the next scene")

    def _trainElsewhere(self, dataset: Path, runs: Path) -> str:
        """Let another application begin a training and quit; returns the folder of the training."""
        names = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
        modules = [str(Path(slicer.util.modulePath(name)).parent) for name in names]
        command = [slicer.app.applicationFilePath(), "--testing", "--no-splash", "--additional-module-paths", *modules]
        command += ["--python-script", str(HERE / "train_and_leave.py")]
        told = self.folder / "signal"
        changed = {
            "MEDDDPM_STORAGE": str(self.folder / "storage"),
            "MEDDDPM_SIGNAL": str(told),
            "MEDDDPM_TRAIN": f"{dataset}|{runs}",
        }
        with (OUT / "train-and-leave.log").open("wb") as log:
            other = subprocess.Popen(command, env={**os.environ, **changed}, stdout=log, stderr=subprocess.STDOUT)
        try:
            waitUntil(told.is_file, "the other application's training", 38)
            waitUntil(lambda: other.poll() is not None, "the end of the other application", 8)
        finally:
            other.kill()
        path = told.read_text()
        self.assertTrue(path.startswith(str(runs)), path)
        self.addCleanup(self._end, path)
        return path

    def _end(self, path: str) -> None:
        """Whatever happened, nothing trains on."""
        if Path(path).is_dir():
            endTraining(self.service, Path(path))
            shutil.rmtree(path, ignore_errors=True)


_SLICES = ("MedDDPMReal", "MedDDPMSynthetic")
