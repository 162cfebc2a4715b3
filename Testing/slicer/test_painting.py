"""Painting by mouse in the embedded editor, and the edited mask generated anew."""

from __future__ import annotations

import numpy as np
import slicer
from driving import (
    OUT,
    SlicerTestCase,
    activateEffect,
    clickAt,
    count,
    dragFrom,
    grab,
    rest,
    say,
    segmentId,
    setVoxels,
    voxels,
    waitUntil,
)
from stalls import LIMIT_SECONDS, StallMeter

BRUSH_MM = 12.0
# Brain without tumor, on the patient's right of the sample case (RAS mm).
HEALTHY, ACROSS = (35.0, 0.0, 0.0), (35.0, 25.0, 0.0)


class PaintingTest(SlicerTestCase):
    """The real Paint effect, by events of the mouse in the axial view."""

    def setUp(self) -> None:
        """Show the sample case through the middle of the brain, with the brush at hand."""
        super().setUp()
        self.segmentation = self.loadSample()
        for name in ("Red", "Green", "Yellow"):
            slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().JumpSlice(*HEALTHY)
        slicer.util.resetSliceViews()
        slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().JumpSlice(*HEALTHY)

    def paint(self, name: str) -> None:
        """Drag the brush over healthy brain with the segment of this name."""
        editor = self.ui.SegmentEditorWidget
        editor.setCurrentSegmentID(segmentId(self.segmentation, name))
        editor.setActiveEffectByName("Paint")
        effect = editor.activeEffect()
        effect.setCommonParameter("BrushDiameterIsRelative", 0)
        effect.setCommonParameter("BrushAbsoluteDiameter", BRUSH_MM)
        rest(0.2)
        dragFrom("Red", HEALTHY, ACROSS)
        rest(0.2)

    def testPaintingOverTheBrainLosesNothing(self) -> None:
        """A drag with the enhancing part adds to it; no voxel of any other segment is erased; undo takes it back."""
        others = ("Brain", "Peritumoral edema", "Necrotic and non-enhancing tumor core")
        before = {name: voxels(self.segmentation, name) for name in others}
        enhancing = count(self.segmentation, "Enhancing tumor")
        self.paint("Enhancing tumor")
        painted = count(self.segmentation, "Enhancing tumor") - enhancing
        say(f"one drag painted {painted} voxels")
        self.assertGreater(painted, 20)
        for name in others:
            np.testing.assert_array_equal(voxels(self.segmentation, name), before[name])
        grab("painted")
        self.ui.SegmentEditorWidget.undo()
        self.assertEqual(count(self.segmentation, "Enhancing tumor"), enhancing)

    def testPaintingGoesOnInALoadedScene(self) -> None:
        """A scene that is loaded while the module is open, and nodes that come together, leave the editor usable."""
        path = str(OUT / "painting.mrb")
        self.assertTrue(slicer.util.saveScene(path))
        self.assertTrue(slicer.util.loadScene(path, {"clear": True}))
        self.segmentation = self.parameters.segmentation
        before = count(self.segmentation, "Enhancing tumor")
        slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
        slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
        self.assertIsNotNone(self.ui.SegmentEditorWidget.sourceVolumeNode())
        self.paint("Enhancing tumor")
        self.assertGreater(count(self.segmentation, "Enhancing tumor"), before + 20)

    def testTheBrainIsAnOutlineWhilePainting(self) -> None:
        """Its fill would hide what one paints on; it is back when the effect ends. Tumor stays filled."""
        display = self.segmentation.GetDisplayNode()
        brain, edema = (segmentId(self.segmentation, name) for name in ("Brain", "Peritumoral edema"))
        self.assertTrue(display.GetSegmentVisibility2DFill(brain))
        self.ui.SegmentEditorWidget.setActiveEffectByName("Paint")
        waitUntil(lambda: not display.GetSegmentVisibility2DFill(brain), "the outline")
        self.assertTrue(display.GetSegmentVisibility2DOutline(brain) and display.GetSegmentVisibility2DFill(edema))
        grab("painting-outline")
        self.ui.SegmentEditorWidget.setActiveEffect(None)
        waitUntil(lambda: display.GetSegmentVisibility2DFill(brain), "the fill")

    def testTheStatusAfterUndoIsThatOfTheMask(self) -> None:
        """What was said of a lesion, and found in the mask with it, is over with the undo."""
        editor = self.ui.SegmentEditorWidget
        waitUntil(lambda: "ready" in self.ui.CheckStatusLabel.text, "the check")
        effect = activateEffect(editor)
        effect.place(HEALTHY)
        waitUntil(lambda: not effect.working, "the lesion")
        said = effect.frame.status.text
        rest(1.0)
        self.assertEqual(effect.frame.status.text, said)
        editor.undo()
        waitUntil(lambda: effect.frame.status.text != said, "the hint of the effect")
        editor.setActiveEffect(None)
        waitUntil(lambda: "ready" in self.ui.CheckStatusLabel.text, "the check")
        editor.saveStateForUndo()
        setVoxels(self.segmentation, "Brain", voxels(self.segmentation, "Brain") * 0)
        waitUntil(lambda: "must be fixed" in self.ui.CheckStatusLabel.text, "the finding")
        editor.undo()
        waitUntil(lambda: "ready" in self.ui.CheckStatusLabel.text, "the check of the mask as it was")

    def testPaintedTumorShowsUpInTheImage(self) -> None:
        """The edited mask is generated by the warm worker with the same seed: the image changes there."""
        self.parameters.lockSeed = True
        self.parameters.modalities = ["T1ce"]
        (before,) = (slicer.util.arrayFromVolume(volume).copy() for volume in self.generate().volumes)
        old = voxels(self.segmentation, "Enhancing tumor").astype(bool)
        self.paint("Enhancing tumor")
        painted = voxels(self.segmentation, "Enhancing tumor").astype(bool) & ~old
        after = slicer.util.arrayFromVolume(self.generate().volumes[0])
        difference = np.abs(after.astype(float) - before)
        far = np.roll(painted, painted.shape[0] // 3, axis=0) & ~painted
        self.assertGreater(difference[painted].mean(), 3 * difference[far].mean())

    def testSelfTestOfTheEffect(self) -> None:
        """What the button "Reload and Test" of the hidden module does."""
        from SegmentEditorMedDDPM import SegmentEditorMedDDPMTest

        SegmentEditorMedDDPMTest().runTest()

    def testPlacingALesionHoldsNothingUp(self) -> None:
        """A click with the effect: the mouse works on while the lesion is computed."""
        effect = activateEffect(self.ui.SegmentEditorWidget)
        before = count(self.segmentation, "Enhancing tumor")
        rest(1.0)  # the pages of the effect are drawn
        with StallMeter() as meter:
            clickAt("Red", HEALTHY)
            self.assertTrue(effect.working)
            seconds = waitUntil(lambda: not effect.working, "the lesion")
        say(f"the lesion was there after {seconds:.1f} s: {meter.summary()}")
        self.assertGreater(count(self.segmentation, "Enhancing tumor"), before, effect.frame.status.text)
        self.assertLess(meter.longestCpu, LIMIT_SECONDS)
        grab("placed")
        self.ui.SegmentEditorWidget.undo()
        self.assertEqual(count(self.segmentation, "Enhancing tumor"), before)

    def testAutomaticUpdate(self) -> None:
        """With "Auto-update" a preview follows the drag by itself, and is marked as one."""
        self.ui.AutoUpdateCheckBox.checked = True
        self.paint("Enhancing tumor")
        waitUntil(lambda: self.service.autoUpdate.run is not None, "the automatic generation")
        run = self.service.autoUpdate.run
        run.cancel()  # that it ends well is tested elsewhere; it takes more steps
        self.assertTrue(run.automatic)
        self.ui.AutoUpdateCheckBox.checked = False
        waitUntil(lambda: run.finished, "the cancel")
