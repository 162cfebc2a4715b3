"""Anatomy and contrast of models that are told tissues: the choices, the anatomy as segments, a growth series."""

from __future__ import annotations

import numpy as np
import slicer
from driving import SlicerTestCase, count, grab, say, setVoxels, voxels, waitUntil
from stalls import StallMeter

PLAIN = "whole-head-demo"


class AnatomyTest(SlicerTestCase):
    """With the demo model, and with one that is told no tissues."""

    def setUp(self) -> None:
        """Load the sample; a demo without tissues leaves nothing to test."""
        super().setUp()
        self.segmentation = self.loadSample()
        if not self.context.scheme.tissue_values:
            self.skipTest("the demo model is told no tissues")

    def testOtherModelsLeaveNoChoice(self) -> None:
        """The choices are hidden, and a sentence says why."""
        self.assertTrue(self.ui.AnatomyWidget.visible)
        self.parameters.model = PLAIN
        waitUntil(lambda: not self.ui.AnatomyWidget.visible, "the choices to go")
        waitUntil(lambda: "no anatomy" in self.ui.AnatomyStatusLabel.text, "the sentence")
        self.assertFalse(self.ui.AnatomyButton.enabled)

    def testChoicesFollowTheParameterNode(self) -> None:
        """The widgets are bound; the selector of the segmentation offers segmentations and label maps only."""
        from MedDDPMSynthLib.Options import Anatomy, Contrast

        self.ui.AnatomyComboBox.currentText = Anatomy.SEGMENTATION.label()
        self.ui.ContrastComboBox.currentText = Contrast.MEAN.label()
        self.ui.MassEffectSlider.value = 0.35
        self.assertIs(self.parameters.anatomy, Anatomy.SEGMENTATION)
        self.assertIs(self.parameters.contrast, Contrast.MEAN)
        self.assertAlmostEqual(self.parameters.massEffect, 0.35)
        self.assertTrue(self.ui.AnatomySourceSelector.visible)
        kinds = set(self.ui.AnatomySourceSelector.nodeTypes)
        self.assertEqual(kinds, {"vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"})
        waitUntil(lambda: "Choose the segmentation" in self.ui.GenerateButton.toolTip, "the reason on the button")
        self.assertFalse(self.ui.GenerateButton.enabled)
        self.ui.AnatomySourceSelector.setCurrentNode(self.segmentation)
        self.assertIs(self.parameters.anatomySource, self.segmentation)

    def testAnatomyAsSegments(self) -> None:
        """Ventricles and others appear, the tumor stays, the GUI flows; undo takes them away again."""
        tumor = voxels(self.segmentation, "Enhancing tumor")
        with StallMeter(self.service._timer, self.widget.timer) as meter:
            self._showAnatomy()
        say(meter.summary())
        self.assertLess(meter.longestCallback, 0.1, meter.summary())
        self.assertGreater(count(self.segmentation, "Ventricles"), 1000)
        self.assertTrue((voxels(self.segmentation, "Enhancing tumor") == tumor).all())
        grab("anatomy")
        self.ui.SegmentEditorWidget.undo()
        self.assertEqual(count(self.segmentation, "Ventricles"), 0)

    def testPaintedVentriclesAreGenerated(self) -> None:
        """What is painted over white matter is fluid in the image."""
        self._showAnatomy()
        before = self.generate().volumes
        white, ventricles = (voxels(self.segmentation, name) for name in ("White matter", "Ventricles"))
        moved = [np.roll(ventricles, shift, axis) > 0 for axis in range(3) for shift in (-3, 3)]
        larger = np.logical_or.reduce([ventricles > 0, *moved])
        setVoxels(self.segmentation, "Ventricles", larger.astype(ventricles.dtype))
        after = self.generate().volumes
        grown = larger & (white > 0) & (ventricles == 0)
        first, second = (slicer.util.arrayFromVolume(volumes[0])[grown].mean() for volumes in (before, after))
        self.assertLess(second, first)

    def testResultsTellTheirAnatomy(self) -> None:
        """A hidden segmentation beside the images; the table says what the tumor did."""
        self.generate()
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 1, "the row of the sample")
        anatomy = slicer.util.getNode("Anatomy 01*")
        self.assertFalse(anatomy.GetDisplayNode().GetVisibility())
        self.ui.ResultsTable.selectRow(0)
        self.assertRegex(self.ui.ResultsMessageLabel.text, r"Ventricles \d+ mL.*midline shift")

    def testGrowthSeries(self) -> None:
        """Sequences of three frames that play."""
        self.parameters.growthFrames = 3
        waitUntil(lambda: self.ui.GrowthButton.enabled, "the button")
        self.ui.GrowthButton.click()
        run = self.service.run
        with StallMeter(self.service._timer, self.widget.timer) as meter:
            waitUntil(lambda: run.finished, "the series")
        say(meter.summary())
        self.assertEqual(run.state.name, "DONE", run.message)
        self.assertLess(meter.longestCallback, 0.1, meter.summary())
        browser = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
        self.assertEqual(browser.GetNumberOfItems(), 3)
        shown = []
        for number in range(3):
            browser.SetSelectedItemNumber(number)
            slicer.app.processEvents()
            shown.append(slicer.util.arrayFromVolume(run.volumes[0]).copy())
        self.assertGreater(abs(shown[2].astype(int) - shown[0]).max(), 0)
        grab("growth")

    def _showAnatomy(self) -> None:
        waitUntil(lambda: self.ui.AnatomyButton.enabled, "the button")
        self.ui.AnatomyButton.click()
        waitUntil(lambda: "Edit the tissues" in self.ui.AnatomyStatusLabel.text, "the anatomy")
