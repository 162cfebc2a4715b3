"""What is done with samples: compared, counted, discarded; a batch of files; a change in a real scan."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from driving import SlicerTestCase, grab, say, setVoxels, voxels, waitUntil
from MedDDPMSlicerLib.Processes import slicerPython, workerEnvironment
from photography import scroll

TUMOR = "Enhancing tumor"
# Writes an untrained segmenter for the demo model.
SEGMENTER = """
import sys
import torch
from pathlib import Path
from medddpm.models.places import find_config
from medddpm.models.segmenter import Segmenter, SegmenterConfig
model, dice = find_config("demo"), {"tumor_whole": 0.8, "tumor_core": 0.7, "tumor_enhancing": 0.6}
grid = model.grid
described = SegmenterConfig(tuple(dice), model.modalities, grid.spacing, grid.orientation, 2)
Segmenter(described, model, torch.device("cpu"), seed=3).save(Path(sys.argv[1]), real_dice=dice, real_cases=4)
"""


class SamplesTest(SlicerTestCase):
    """Two samples of one mask."""

    def setUp(self) -> None:
        """Generate them."""
        super().setUp()
        self.segmentation = self.loadSample()
        self.parameters.samples = 2
        self.volumes = self.generate().volumes
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 2, "the rows of the samples")

    def tearDown(self) -> None:
        """The next test finds the usual views."""
        if self.ui.UsualLayoutButton.enabled:
            self.ui.UsualLayoutButton.click()
        super().tearDown()

    def testSideBySide(self) -> None:
        """Both samples lie next to each other, in views that move together; then the usual views come back."""
        manager = slicer.app.layoutManager()
        usual = manager.layout
        self.ui.SideBySideButton.click()
        slicer.app.processEvents()
        grab("side-by-side")
        views = [manager.sliceWidget(f"MedDDPM{number}") for number in (1, 2)]
        shown = [slicer.mrmlScene.GetNodeByID(v.mrmlSliceCompositeNode().GetBackgroundVolumeID()) for v in views]
        self.assertEqual([node.GetName()[:5] for node in shown], ["T1 01", "T1 02"])
        self.assertTrue(all(view.mrmlSliceCompositeNode().GetLinkedControl() for view in views))
        left, right = (view.mrmlSliceNode() for view in views)
        moved = left.GetSliceOffset() + 6.0
        views[0].sliceController().setSliceOffsetValue(moved)
        slicer.app.processEvents()
        self.assertAlmostEqual(right.GetSliceOffset(), moved, delta=0.5)
        self.ui.UsualLayoutButton.click()
        self.assertEqual(manager.layout, usual)

    def testSegmentedAgain(self) -> None:
        """The best of two by a segmenter: the table has a column with the word and the Dice, and says the rest."""
        table = self.ui.ResultsTable
        self.assertTrue(table.isColumnHidden(3))
        segmenter = Path(tempfile.mkdtemp()) / "segmenter.safetensors"
        self.addCleanup(shutil.rmtree, segmenter.parent)
        subprocess.run([*slicerPython(), "-c", SEGMENTER, str(segmenter)], check=True, env=workerEnvironment())
        self.parameters.verify, self.parameters.bestOf, self.parameters.samples = str(segmenter), 2, 1
        self.generate()
        waitUntil(lambda: table.rowCount == 3, "the row of the sample")
        self.assertFalse(table.isColumnHidden(3))
        self.assertRegex(table.item(2, 3).text(), r"^(good|doubtful|poor) \(0\.\d\d\)$")
        table.selectRow(2)
        slicer.app.processEvents()
        self.assertIn("The best of 2.", self.ui.ResultsMessageLabel.text)
        self.assertIn("In real images 0.70 on average.", self.ui.ResultsMessageLabel.text)
        scroll(table)
        grab("segmented-again")

    def testMeanAndVariability(self) -> None:
        """Mean and standard deviation over both samples are those of numpy."""
        stack = np.stack([array(volume) for volume in self.volumes if modality(volume) == "T1"])
        self.assertEqual(len(stack), 2)
        self.assertGreater(np.abs(stack[0] - stack[1]).max(), 0)
        self.ui.StatisticsButton.click()
        waitUntil(lambda: "were added" in self.ui.ResultsMessageLabel.text, "mean and variability")
        self.assertTrue(np.allclose(array(named("T1 mean of 2")), stack.mean(axis=0), atol=1e-2))
        self.assertTrue(np.allclose(array(named("T1 variability of 2")), stack.std(axis=0), atol=1e-2))
        grab("variability")

    def testDiscard(self) -> None:
        """A sample whose check is removed goes with the button; the other stays."""
        self.assertFalse(self.ui.DiscardButton.enabled)
        self.ui.ResultsTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
        waitUntil(lambda: self.ui.DiscardButton.enabled, "Discard")
        self.assertFalse(self.ui.StatisticsButton.enabled)
        self.ui.DiscardButton.click()
        self.assertEqual(self.ui.ResultsTable.rowCount, 1)
        self.assertEqual({v.GetAttribute("MedDDPM.sample") for v in synthetic()}, {"2"})
        self.assertEqual(len(synthetic()), 4)

    def testCompareWithMri(self) -> None:
        """The reference MRI beside the sample."""
        real = realCopy(self.volumes[3], "Patient FLAIR")
        self.assertFalse(self.ui.CompareButton.enabled)
        self.parameters.referenceVolume = real
        waitUntil(lambda: self.ui.CompareButton.enabled, "Compare")
        self.ui.CompareButton.click()
        slicer.app.processEvents()
        grab("compare")
        names = [
            slicer.app.layoutManager().sliceWidget(f"MedDDPM{n}").mrmlSliceCompositeNode().GetBackgroundVolumeID()
            for n in (1, 2)
        ]
        self.assertEqual(self.ui.ResultsModalityComboBox.currentText, "T1")
        self.assertEqual(names, [real.GetID(), self.volumes[3].GetID()], "the contrast that both have")
        self.assertIn("FLAIR images are compared", self.ui.ResultsMessageLabel.text)
        real.SetName("MRHead")
        self.ui.CompareButton.click()
        self.assertIn("does not tell its contrast", self.ui.ResultsMessageLabel.text)


class LocalEditTest(SlicerTestCase):
    """A change in a scan: only around it the image is made anew."""

    def testOnlyTheRegionDiffers(self) -> None:
        """With all four images of the scan given, voxels away from the change are exactly those of the scan."""
        segmentation = self.loadSample()
        real = {modality(v): realCopy(v, f"Patient {modality(v)}") for v in self.generate().volumes}
        for name, selector in self.panel("rememberMask").selectors.items():
            selector.setCurrentNode(real[name])
        self.assertEqual(dict(self.parameters.knownVolumes), {name: node.GetID() for name, node in real.items()})
        self.ui.RememberMaskButton.click()
        view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        self.assertEqual(view.GetBackgroundVolumeID(), real["T1"].GetID(), "the scan that is edited is seen")
        self.assertIsNone(segmentation.GetNodeReference("MedDDPM.canvas"))
        changed = self._shiftTumor(segmentation)
        self.parameters.marginMm, self.parameters.seamMm = 4.0, 3.0
        waitUntil(lambda: self.ui.EditRealScanCheckBox.enabled, "the local edit")
        self.ui.EditRealScanCheckBox.checked = True
        self.assertTrue(self.parameters.editRealScan)
        run = self.generate()
        self.assertEqual(run.volumes[0].GetName(), "T1 02 – Glioma sample (edited scan)")
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 2, "the rows of the results")
        self.assertEqual(self.ui.ResultsTable.item(1, 1).text(), "Edited scan 02")
        self.assertEqual(view.GetBackgroundVolumeID(), run.volumes[0].GetID())
        grab("local-edit")
        # One voxel more, for what lies between the centers of voxels.
        reach = 4.0 + 3.0 + max(run.volumes[0].GetSpacing())
        far = distance(changed, run.volumes[0].GetSpacing()) > reach
        for volume in run.volumes:
            difference = np.abs(array(volume) - array(real[modality(volume)]))
            say(f"{volume.GetName()}: {difference[changed].mean():.1f} where changed, {difference[far].max():g} far")
            self.assertEqual(difference[far].max(), 0)
            self.assertGreater(difference[changed].mean(), 0)

    def _shiftTumor(self, segmentation: Any) -> np.ndarray:
        """Move the enhancing part by some voxels; returns where the mask was changed (Z,Y,X)."""
        before = self._mask(segmentation)
        setVoxels(segmentation, TUMOR, np.roll(voxels(segmentation, TUMOR), 4, axis=1))
        changed = self._mask(segmentation) != before
        self.assertTrue(changed.any())
        return changed

    def _mask(self, segmentation: Any) -> np.ndarray:
        from MedDDPMSlicerLib.SegmentMasks import composeLabels

        return composeLabels(segmentation, self.context.scheme).data.T


class BatchTest(SlicerTestCase):
    """A folder of masks."""

    def testBadFileAmongGoodOnes(self) -> None:
        """The table says which are done and why one failed; the others' images are in the output folder."""
        from MedDDPMSlicerLib.Storage import sampleMaskPath

        folder = Path(tempfile.mkdtemp(prefix="medddpm-batch-"))
        self.addCleanup(shutil.rmtree, folder, True)
        masks, output = folder / "masks", folder / "out"
        masks.mkdir()
        for name in ("first", "third"):
            shutil.copyfile(sampleMaskPath(), masks / f"{name}.nii.gz")
        (masks / "second.nii.gz").write_bytes(b"this is no image")
        self.agree()
        self.fewSteps()
        self.ui.BatchSourcePath.currentPath = str(masks)
        self.ui.BatchOutputPath.currentPath = str(output)
        waitUntil(lambda: self.ui.BatchTable.rowCount == 3, "the table of masks")
        waitUntil(lambda: self.ui.BatchButton.enabled and self.ui.BatchButton.text == "Start", "Start")
        self.ui.BatchButton.click()
        waitUntil(lambda: self.service.batch is not None and self.service.batch.finished, "the batch")
        waitUntil(lambda: self.ui.BatchButton.text == "Start", "the end in the panel")
        rows = [self._row(number) for number in range(self.ui.BatchTable.rowCount)]
        say(f"batch: {rows}; {self.ui.BatchMessageLabel.text}")
        self.assertEqual([row[0] for row in rows], ["first", "second", "third"])
        self.assertEqual([row[1] for row in rows], ["none"] * 3)
        self.assertEqual([row[2] for row in rows], ["done", "failed", "done"])
        self.ui.BatchTable.setCurrentCell(1, 0)
        waitUntil(lambda: "second: second.nii.gz is named" in self.ui.BatchMessageLabel.text, "what went wrong")
        self.assertEqual(self.ui.BatchTable.item(1, 0).toolTip(), str(masks / "second.nii.gz"))
        self.assertEqual([not self.ui.BatchTable.item(n, 3).icon().isNull() for n in range(3)], [True, False, True])
        self._grabTable("batch")
        self.assertTrue(self.ui.BatchMessageLabel.text.startswith("2 of 3 cases done, 1 failed."))
        for name in ("first", "third"):
            self.assertEqual(len(list((output / name).glob("*_sample-01_*.nii.gz"))), 4)
            self.assertEqual(len(list((output / name).rglob("provenance.json"))), 1)
        self.assertFalse((output / "second").exists())

    def testImagesArePaired(self) -> None:
        """Tumor masks named as in BraTS: the brain comes from the image beside; without one it is called invented."""
        from MedDDPMSlicerLib.Volumes import saveVolume, volumeOf
        from MedDDPMSynthLib.Options import batchSource

        segmentation = self.loadSample()
        volume = self.generate().volumes[0]
        from MedDDPMSlicerLib.SegmentMasks import composeLabels

        labels, scan = composeLabels(segmentation, self.context.scheme), volumeOf(volume)
        tumor = np.where(labels.data == self.context.scheme.surround, 0, labels.data).astype(np.uint8)
        folder = Path(tempfile.mkdtemp(prefix="medddpm-batch-"))
        self.addCleanup(shutil.rmtree, folder, True)
        for case in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000"):
            (folder / "in" / case).mkdir(parents=True)
            saveVolume(type(labels)(tumor, labels.affine), folder / "in" / case / f"{case}-seg.nrrd")
        inside = np.where(labels.data > 0, scan.data, 0).astype(np.int16)
        image = folder / "in" / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1n.nrrd"
        saveVolume(type(labels)(inside, labels.affine), image)
        self.parameters.batchSource, self.parameters.batchOutput = str(folder / "in"), str(folder / "out")
        table = self.ui.BatchTable
        waitUntil(lambda: table.rowCount == 2, "the table of masks")
        self.assertEqual(self.service.batchTable.source, batchSource(self.parameters))
        self.assertEqual([self._row(n)[1] for n in range(2)], ["T1", "none"])
        self.assertIn("2 masks found, 1 with an image.", self.ui.BatchMessageLabel.text)
        self._grabTable("batch-before")
        waitUntil(lambda: self.ui.BatchButton.enabled, "Start")
        self.ui.BatchButton.click()
        waitUntil(lambda: self.service.batch is not None and self.service.batch.finished, "the batch")
        waitUntil(lambda: self.ui.BatchButton.text == "Start", "the end in the panel")
        states = [self._row(n)[2] for n in range(2)]
        self.assertEqual(states, ["done", "brain invented"], [self._row(n) for n in range(2)])
        self._grabTable("batch-paired")

    def _grabTable(self, name: str) -> None:
        self.ui.BatchSection.collapsed = False
        slicer.app.processEvents()
        area = self.ui.BatchSection.parent()
        while not hasattr(area, "ensureWidgetVisible"):
            area = area.parent()
        area.ensureWidgetVisible(self.ui.BatchMessageLabel)
        grab(name)

    def _row(self, number: int) -> tuple[str, ...]:
        return tuple(self.ui.BatchTable.item(number, column).text() for column in range(3))


def array(volume: Any) -> np.ndarray:
    """A copy of the voxels (Z,Y,X) as float64."""
    return slicer.util.arrayFromVolume(volume).astype(np.float64)


def modality(volume: Any) -> str:
    """The modality of a synthetic volume."""
    return volume.GetAttribute("MedDDPM.modality")


def synthetic() -> list[Any]:
    """The synthetic volumes of the scene."""
    from MedDDPMSlicerLib.Nodes import syntheticVolumes

    return syntheticVolumes()


def named(start: str) -> Any:
    """The one volume whose name begins so."""
    (found,) = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName().startswith(start)]
    return found


def realCopy(volume: Any, name: str) -> Any:
    """The same image as a scan would come: without any mark of being synthetic."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.CopyOrientation(volume)
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(volume).copy())
    node.CreateDefaultDisplayNodes()
    return node


def distance(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance (mm) of each voxel (Z,Y,X) from the nearest of ``mask``; ``spacing`` is that of X, Y and Z."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing)
    distances = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return sitk.GetArrayFromImage(distances)
