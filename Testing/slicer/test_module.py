"""The module in the application: it opens, loads the sample case, checks the mask, survives being left and closed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import qt
import slicer
from driving import OUT, SlicerTestCase, count, grab, openModule, rest, setVoxels, voxels, waitUntil

HERE = Path(__file__).resolve().parent
SMALL = (1366, 768)


class ModuleTest(SlicerTestCase):
    """Life cycle, sample case, mask check."""

    def testOpens(self) -> None:
        """The panel is there with the demo model's description; Generate says what is missing."""
        self.assertIsNotNone(self.widget.panels)
        self.assertIn("T1ce", self.ui.ModelSummaryLabel.text)
        waitUntil(lambda: not self.ui.GenerateButton.enabled, "the disabled button")
        self.assertIn("agree" if not self.context.agreed else "segmentation", self.ui.GenerateButton.toolTip)

    def testEveryDisabledButtonSaysWhy(self) -> None:
        """Buttons that are disabled in an empty scene have another tooltip than usual, a sentence."""
        names = "GenerateButton OutlineButton ShowButton SideBySideButton CompareButton StatisticsButton DiscardButton"
        names += " RememberMaskButton RestoreMaskButton BatchButton RemoveRememberedButton"
        for name in names.split():
            button = getattr(self.ui, name)
            with self.subTest(button=name):
                self.assertFalse(button.enabled)
                self.assertNotEqual(button.toolTip, button.property("MedDDPMTip"))
                self.assertIn(".", button.toolTip)

    def testSampleCaseInOneClick(self) -> None:
        """All four segments appear with voxels, are visible, and the check finds nothing to complain of."""
        segmentation = self.loadSample()
        core = segmentation.GetSegmentation()
        self.assertEqual(core.GetNumberOfSegments(), 4)
        for number in range(4):
            self.assertTrue(segmentation.GetDisplayNode().GetSegmentVisibility(core.GetNthSegmentID(number)))
            self.assertTrue(voxels(segmentation, core.GetNthSegment(number).GetName()).any())
        waitUntil(lambda: "ready" in self.ui.CheckStatusLabel.text, "the check")
        grab("sample-case")

    def testCheckFindsAndFixes(self) -> None:
        """A stray voxel of tumor outside the brain is found live; its button puts it right; undo brings it back."""
        segmentation = self.loadSample()
        waitUntil(lambda: "ready" in self.ui.CheckStatusLabel.text, "the first check")
        array = voxels(segmentation, "Peritumoral edema")
        array[-8:-5, 5:9, 5:9] = 1
        setVoxels(segmentation, "Peritumoral edema", array)
        panel = next(panel for panel in self.widget.panels if hasattr(panel, "findings"))
        waitUntil(lambda: panel.findings.buttons and panel.findings.buttons[0][0].enabled, "a finding with a fix")
        self.assertNotIn("ready", self.ui.CheckStatusLabel.text)
        grab("finding")
        before = count(segmentation, "Peritumoral edema")
        panel.findings.buttons[0][0].click()
        waitUntil(lambda: "ready" in self.ui.CheckStatusLabel.text, "the check after the fix")
        self.assertLess(count(segmentation, "Peritumoral edema"), before)
        self.assertGreater(count(segmentation, "Brain"), 0)
        self.ui.SegmentEditorWidget.undo()
        self.assertEqual(count(segmentation, "Peritumoral edema"), before)

    def testEstimateIsAskedAgainAfterTheSceneWasClosed(self) -> None:
        """A question that the end of a scene has cancelled is asked anew in the next one, with the same choices."""
        self.loadSample()
        waitUntil(lambda: not self.service.estimate.finished, "the question")
        slicer.mrmlScene.Clear(0)
        self.loadSample()
        waitUntil(lambda: "memory" in self.ui.EstimateLabel.text, "the estimate")

    def testCreateSegments(self) -> None:
        """Without any image, "Create segments" makes a mask to paint in, with terminology."""
        self.ui.CreateSegmentsButton.click()
        segmentation = self.parameters.segmentation
        core = segmentation.GetSegmentation()
        self.assertEqual(core.GetNumberOfSegments(), 4)
        self.assertIn("Edema", core.GetNthSegment(1).GetTerminology())
        self.assertIsNotNone(self.ui.SegmentEditorWidget.sourceVolumeNode())

    def testLeaveAndComeBack(self) -> None:
        """Another module, then this one again: the choices are still there, the editor lets go meanwhile."""
        segmentation = self.loadSample()
        self.ui.SegmentEditorWidget.setActiveEffectByName("Paint")
        slicer.util.selectModule("Data")
        self.assertIsNone(self.ui.SegmentEditorWidget.activeEffect())
        openModule()
        self.assertIs(self.parameters.segmentation, segmentation)
        self.assertIs(self.ui.SegmentationSelector.currentNode(), segmentation)

    def testScenesDoNotMix(self) -> None:
        """A closed scene leaves nothing chosen; the next sample case works."""
        self.loadSample()
        slicer.mrmlScene.Clear(0)
        waitUntil(lambda: self.parameters.segmentation is None, "the empty choice")
        waitUntil(lambda: not self.ui.CheckStatusLabel.text, "the end of what was said of the mask")
        self.loadSample()

    def testCleanupAfterFailedSetup(self) -> None:
        """A panel whose setup failed can still be entered, left and cleaned up."""
        from MedDDPMSynth import MedDDPMSynthWidget

        broken = MedDDPMSynthWidget.__new__(MedDDPMSynthWidget)
        MedDDPMSynthWidget.__init__(broken, slicer.qMRMLWidget())
        broken.enter()
        broken.exit()
        broken.onSceneStart()
        broken.onSceneEnd()
        broken.removeObservers()

    def testGenerateIsAlwaysInSight(self) -> None:
        """On a small screen, wherever one has scrolled; while it works it is Cancel, with progress above it."""
        slicer.util.mainWindow().resize(*SMALL)
        self.loadSample()
        waitUntil(lambda: self.ui.GenerateButton.enabled, "Generate")
        self.assertTrue(self.ui.ModelSection.collapsed, "the terms are agreed to")
        bar = self.ui.SectionsArea.verticalScrollBar()
        for position in (bar.minimum, bar.maximum):
            bar.value = position
            rest(0.2)
            self._assertInSight(self.ui.GenerateButton)
            grab(f"small-{position > 0:d}")
        run = self.startLongGeneration()
        waitUntil(lambda: "left" in self.ui.ProgressLabel.text, "the time left")
        for widget in (self.ui.GenerateButton, self.ui.ProgressBar, self.ui.ProgressLabel):
            self._assertInSight(widget)
        self.assertEqual(self.ui.GenerateButton.text, "Cancel")
        grab("small-generating")
        self.ui.GenerateButton.click()
        waitUntil(lambda: run.finished, "the cancel")

    def testFromAnMriToABrainInThreeClicks(self) -> None:
        """A whole head in the views: agree to the terms (once), "Brain from MRI", Generate."""
        slicer.util.addVolumeFromArray(head(), ijkToRAS=np.diag([3.0, 3.0, 3.0, 1.0]), name="MRI")
        slicer.util.setSliceViewerLayers(background=slicer.util.getNode("MRI"), fit=True)
        self.agree()
        self.fewSteps()
        waitUntil(lambda: self.ui.OutlineButton.enabled, "Brain from MRI")
        self.ui.OutlineButton.click()
        waitUntil(lambda: "Looking for the brain in 'MRI'" in self.ui.ProgressLabel.text, "the progress")
        self.assertEqual(self.ui.CheckStatusLabel.text, "")
        self.assertEqual(self.ui.GenerateButton.text, "Cancel")
        waitUntil(lambda: self.ui.GenerateButton.text == "Generate", "the brain")
        self.assertIs(self.parameters.referenceVolume, slicer.util.getNode("MRI"))
        waitUntil(lambda: any("whole head" in f.sentence for f in self.panel._outlined), "how it was found")
        liters = count(self.parameters.segmentation, "Brain") * 27e-6
        self.assertTrue(0.8 < liters < 2.1, liters)
        self.generate()
        grab("brain-from-mri")

    @property
    def panel(self):
        """The panel of the mask."""
        return next(panel for panel in self.widget.panels if hasattr(panel, "findings"))

    def _assertInSight(self, widget) -> None:
        shown = qt.QRect(widget.mapTo(slicer.util.mainWindow(), qt.QPoint(0, 0)), widget.size)
        self.assertTrue(slicer.util.mainWindow().rect.contains(shown), f"{widget.objectName}: {shown}")
        self.assertEqual(widget.visibleRegion().boundingRect().size(), widget.size, widget.objectName)

    def testSampleDataModule(self) -> None:
        """The sample case is also in the module Sample Data, with named segments."""
        import SampleData
        from MedDDPMSynthLib.SampleCase import registerSampleData

        registerSampleData()
        source = SampleData.SampleDataLogic().sourceForSampleName("MedDDPM glioma mask")
        node = source.customDownloader(source)
        self.assertEqual(node.GetSegmentation().GetNthSegment(3).GetName(), "Brain")


class IncompleteTest(unittest.TestCase):
    """An application in which a part of the extension is missing, or is of another version."""

    def testOldCore(self) -> None:
        """Another package of that name comes first."""
        folder = Path(tempfile.mkdtemp(prefix="medddpm-old-"))
        (folder / "medddpm").mkdir()
        (folder / "medddpm" / "__init__.py").write_text('__version__ = "0.0.1"\n')
        self._check("old", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "0.0.1")

    def testMissingLibrary(self) -> None:
        """What the modules share is gone."""
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        kept = [path for path in paths if not (Path(path) / "MedDDPMSlicerLib").is_dir()]
        if len(kept) == len(paths):
            self.skipTest("the modules are installed in one folder")
        self._check("missing", os.pathsep.join(kept), "MedDDPMSlicerLib")

    def _check(self, name: str, pythonPath: str, reason: str) -> None:
        modules = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
        folders = [str(Path(slicer.util.modulePath(module)).parent) for module in modules]
        command = [slicer.app.applicationFilePath(), "--testing", "--no-splash", "--additional-module-paths", *folders]
        command += ["--python-script", str(HERE / "say_panels.py")]
        log = OUT / f"incomplete-{name}.log"
        with log.open("wb") as file:
            variables = {**os.environ, "PYTHONPATH": pythonPath, "MEDDDPM_STORAGE": tempfile.mkdtemp()}
            subprocess.run(command, env=variables, stdout=file, stderr=subprocess.STDOUT, timeout=600, check=True)
        told = log.read_text(errors="replace")
        self.assertNotIn("Traceback", told)
        for title in ("MedDDPM Synth", "MedDDPM Training"):
            self.assertRegex(told, f"PANEL {title} cannot be used: .*{reason}.*restart Slicer")


def head() -> np.ndarray:
    """A bright brain within a dark skull and a bright scalp, (Z, Y, X), 3 mm."""
    z, y, x = np.mgrid[-40:40, -40:40, -40:40] * 3.0
    radius = np.sqrt((x / 68) ** 2 + (y / 85) ** 2 + (z / 65) ** 2)
    noise = np.random.default_rng(0).normal(0, 4, radius.shape)
    values = np.select([radius < 1, radius < 1.1, radius < 1.25], [110.0, 15.0, 90.0], 0.0)
    return np.abs(values + noise).astype(np.float32)
