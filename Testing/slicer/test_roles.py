"""A label map whose segments have no names: loaded as usual, generated from at once, corrected by a choice."""

from __future__ import annotations

import SimpleITK as sitk  # noqa: N813
import slicer
from driving import OUT, SlicerTestCase, grab, waitUntil


class RolesTest(SlicerTestCase):
    """The sample mask in the numbers of BraTS to 2021, without its brain."""

    def setUp(self) -> None:
        """Load the file as a segmentation and choose it."""
        super().setUp()
        from MedDDPMSlicerLib.Storage import sampleMaskPath

        image = sitk.ReadImage(str(sampleMaskPath()))
        labels = sitk.ChangeLabel(image, {4: 0, 3: 4})
        self.path = OUT / "BraTS-GLI-00001-seg.nii.gz"
        sitk.WriteImage(labels, str(self.path))
        self.segmentation = slicer.util.loadSegmentation(str(self.path))
        self.parameters.segmentation = self.segmentation
        self.agree()
        self.fewSteps()

    @property
    def roles(self):
        """The list in the module's panel."""
        return next(panel for panel in self.widget.panels if hasattr(panel, "roles")).roles

    def testPressGenerate(self) -> None:
        """The tumor is in the images, and what each segment was taken for is shown and kept."""
        from MedDDPMSlicerLib.Nodes import provenanceOf

        run = self.generate()
        self.assertIn("Segment_4 = Enhancing tumor (guessed)", provenanceOf(run.volumes[0])["segments"])
        waitUntil(lambda: "guessed" in self.roles.choices["Segment_4"].currentText, "the roles")
        self.assertFalse(self.roles.box.collapsed)
        grab("roles")

    def testARoleIsChosen(self) -> None:
        """A choice in the module counts at once, in the effect too, and the check says what is not used."""
        waitUntil(lambda: "guessed" in getattr(self.roles.choices.get("Segment_4"), "currentText", ""), "the roles")
        box = self.roles.choices["Segment_1"]
        box.currentIndex = box.findData("")
        box.activated(box.currentIndex)
        waitUntil(lambda: any(f.code == "unused-segment" for f in self.service.check.findings), "the warning")
        waitUntil(lambda: self.roles.choices["Segment_1"].currentText == "not used", "the choice")
        self.ui.SegmentEditorWidget.setActiveEffectByName("MedDDPM")
        effect = self.ui.SegmentEditorWidget.activeEffect().self()
        self.assertEqual(effect.frame.roles.choices["Segment_1"].currentText, "not used")
        self.assertEqual(effect.frame.roles.choices["Segment_4"].currentText, "Enhancing tumor")
        grab("roles-in-the-effect")
        self.ui.SegmentEditorWidget.setActiveEffect(None)
