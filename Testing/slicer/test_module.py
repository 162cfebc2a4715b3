"""The module in the application: it opens, loads the sample case, checks the mask, survives being left and closed."""

from __future__ import annotations

import slicer
from driving import SlicerTestCase, count, grab, openModule, setVoxels, voxels, waitUntil


class ModuleTest(SlicerTestCase):
    """Life cycle, sample case, mask check."""

    def testOpens(self) -> None:
        """The panel is there with the demo model's description; Generate says what is missing."""
        self.assertIsNotNone(self.widget.panels)
        self.assertIn("T1ce", self.ui.ModelSummaryLabel.text)
        waitUntil(lambda: not self.ui.GenerateButton.enabled, "the disabled button")
        self.assertIn("Agree" if not self.context.agreed else "segmentation", self.ui.GenerateButton.toolTip)

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
        self.assertEqual(self.ui.CheckStatusLabel.text, "")
        self.loadSample()

    def testCleanupAfterFailedSetup(self) -> None:
        """A panel whose setup failed can still be entered, left and cleaned up."""
        from MedDDPMSynth import MedDDPMSynthWidget

        broken = MedDDPMSynthWidget.__new__(MedDDPMSynthWidget)
        MedDDPMSynthWidget.__init__(broken, slicer.qMRMLWidget())
        broken.enter()
        broken.exit()
        broken.onSceneStartClose()
        broken.onSceneEndClose()
        broken.removeObservers()

    def testSampleDataModule(self) -> None:
        """The sample case is also in the module Sample Data, with named segments."""
        import SampleData
        from MedDDPMSynthLib.SampleCase import registerSampleData

        registerSampleData()
        source = SampleData.SampleDataLogic().sourceForSampleName("MedDDPM glioma mask")
        node = source.customDownloader(source)
        self.assertEqual(node.GetSegmentation().GetNthSegment(3).GetName(), "Brain")
