"""A scene with results is saved, closed and loaded again."""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from driving import SlicerTestCase, grab, openModule, rest, say, segmentId, shownState, waitUntil
from photography import prepareWindow

CHOICES = {
    "samples": 2,
    "seed": 41,
    "lockSeed": True,
    "steps": 3,
    "sampler": "ddim",
    "modalities": ["T1ce", "FLAIR"],
    "seamMm": 7.5,
    "marginMm": 11.0,
    "massEffect": 0.4,
    "guidance": 2.5,
    "ignoreMemory": True,
    "growthFrames": 5,
    "batchSource": "/masks",
}

# The parameter node of the version before options came from the core.
FORMER_PARAMETERS = """anatomy SEED|anatomySource.2 True|autoUpdate False|batchOutput |batchSequence |batchSource /masks
|contrast SEED|device cpu|editRealScan False|growthFrames 8|knownVolumes.len 0|liveCheck True|lockSeed True
|marginMm 11.0|massEffect 1.0|modalities.0 T1ce|modalities.1 FLAIR|modalities.len 2|model demo|originalSegmentation
|precision fp32|quality CUSTOM|referenceVolume |sampler ddim|samples 3|seamMm 7.5|seed 41|segmentation
|showPreview True|steps 7""".replace("\n|", "|")
FORMER = (
    '<MRML version="Slicer4.4.0"><ScriptedModule id="vtkMRMLScriptedModuleNodeMedDDPMSynth" name="MedDDPMSynth"'
    ' singletonTag="MedDDPMSynth" attributes="ModuleName:MedDDPMSynth" '
    + " ".join(f'parameter{n}="{text}"' for n, text in enumerate(FORMER_PARAMETERS.split("|")))
    + "></ScriptedModule></MRML>"
)


class SavingTest(SlicerTestCase):
    """What an ``.mrb`` file keeps."""

    def setUp(self) -> None:
        """A folder for the file; a panel of one width, so that the views have one size."""
        super().setUp()
        prepareWindow()
        self.folder = Path(tempfile.mkdtemp(prefix="medddpm-scene-"))

    def tearDown(self) -> None:
        """Without it."""
        super().tearDown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def testSceneComesBack(self) -> None:
        """Volumes with marks, provenance, display and folders, the mask and all choices are as they were."""
        segmentation = self.loadSample()
        self._choose()
        self.ui.RememberMaskButton.click()
        run = self.generate()
        self._saveAndLoad([describe(volume) for volume in run.volumes], self._mask(segmentation))
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 2, "the rows of the samples")
        grab("loaded")

    def testWorkGoesOn(self) -> None:
        """In the loaded scene one generates as before; the new sample lies beside the old one in the same folder."""
        self.loadSample()
        self.parameters.seed = 5
        self.generate()
        path = self._save()
        slicer.mrmlScene.Clear(0)
        self._load(path)
        self.assertEqual(self.parameters.seed, 6)
        self.assertTrue(self.ui.SegmentationSelector.currentNode() is self.parameters.segmentation)
        self.assertTrue(self.ui.SegmentEditorWidget.segmentationNode() is self.parameters.segmentation)
        run = self.generate()
        self.assertEqual(run.volumes[0].GetName(), "T1 02 – Glioma sample (synthetic)")
        folders = {foldersOf(node)[1] for node in synthetic()}
        self.assertEqual(len(folders), 1, folders)
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 2, "the rows of both samples")

    def testViewsAndChoicesStayAsTheyAre(self) -> None:
        """Opening the module, and loading a scene while it is open, change nothing of views, layout and choices."""
        segmentation = self.loadSample()
        shown, reference = (slicer.util.addVolumeFromArray(np.random.rand(40, 50, 60), name=name) for name in "AB")
        self.parameters.referenceVolume = reference
        self.ui.SegmentEditorWidget.setCurrentSegmentID(segmentId(segmentation, "Enhancing tumor"))
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        slicer.util.setSliceViewerLayers(background=shown, foreground=reference, foregroundOpacity=0.3, fit=True)
        slicer.util.getNode("vtkMRMLSliceNodeRed").JumpSliceByCentering(12, -7, 21)
        self.ui.SegmentEditorWidget.mrmlSegmentEditorNode().SetOverwriteMode(2)
        path = self._save()
        slicer.util.selectModule("Data")
        slicer.mrmlScene.Clear(0)
        self._load(path)
        loaded = shownState()
        self._assertShown(loaded)
        openModule()
        self._assertShown(loaded)
        slicer.mrmlScene.Clear(0)
        self._load(path)
        self._assertShown(loaded)

    def testOpeningChangesNothingOfAnothersScene(self) -> None:
        """Of a scene that knows nothing of the module, with views that show no image."""
        slicer.util.selectModule("Data")
        slicer.mrmlScene.Clear(0)
        slicer.util.addVolumeFromArray(np.random.rand(40, 50, 60), name="MRI")
        slicer.util.setSliceViewerLayers(background=None)
        before = {name: lines for name, lines in shownState().items() if "MedDDPM" not in name}
        openModule()
        self._assertShown(before)

    def testSceneOfTheFormerVersion(self) -> None:
        """What was chosen in it is read; what was added since has its default."""
        path = self.folder / "former.mrml"
        path.write_text(FORMER)
        slicer.util.loadScene(str(path), {"clear": True})
        now = self.parameters
        self.assertEqual((now.samples, now.seed, now.steps, now.sampler, now.device), (3, 41, 7, "ddim", "cpu"))
        self.assertEqual((now.quality.name, plain(now.modalities), now.seamMm), ("CUSTOM", ["T1ce", "FLAIR"], 7.5))
        self.assertEqual((now.guidance, now.ignoreMemory, now.on, now.segmentation), (1.0, False, "", None))
        self.assertEqual(self.ui.SeedSpinBox.value, 41)

    def _assertShown(self, before: dict[str, list[str]]) -> None:
        rest(1.5)
        now = shownState()
        for name, lines in before.items():
            changed = sorted(set(lines) ^ set(now.get(name, ())))
            # The editor lets go of its mask while another module is open.
            self.assertEqual([line for line in changed if not line.startswith("segmentationRef:")], [], name)

    def testSavedVolumesSayThatTheyAreSynthetic(self) -> None:
        """NIfTI and NRRD as the user saves them carry it in the header; a format without place for it is refused."""
        self.loadSample()
        volume = self.generate().volumes[0]
        nifti, nrrd = self.folder / "a.nii", self.folder / "a.nrrd"
        for path in (nifti, nrrd):
            self.assertTrue(slicer.util.saveNode(volume, str(path)))
        self.assertTrue(nifti.read_bytes()[148:].startswith(b"SYNTHETIC by MedDDPM"))
        self.assertIn(b"synthetic:=true", nrrd.read_bytes()[:20000])
        again = slicer.util.loadVolume(str(nrrd))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(volume))
        manager = slicer.app.coreIOManager()
        self.assertIn("NIfTI (*.nii.gz)", manager.fileWriterExtensions(volume))
        self.assertEqual(manager.fileWriterFileType(volume, "NRRD (*.nrrd)"), "MedDDPMSyntheticVolumeFile")
        logging.disable(logging.ERROR)
        self.assertFalse(slicer.util.saveNode(volume, str(self.folder / "a.tif")))
        logging.disable(logging.NOTSET)
        self.assertFalse((self.folder / "a.tif").exists())

    def testLoadedBesideAnother(self) -> None:
        """Added to a scene that has a case of its own, the volumes stay with their segmentation."""
        self.loadSample()
        self.generate()
        path = self._save()
        slicer.mrmlScene.Clear(0)
        own = self.loadSample()
        own.SetName("Own")
        slicer.util.loadScene(str(path), {"clear": False})
        slicer.app.processEvents()
        self.assertEqual(len(synthetic()), 4)
        source = {node.GetNodeReference("MedDDPM.segmentation") for node in synthetic()}
        self.assertEqual([node.GetName() for node in source], ["Glioma sample"])
        self.assertFalse(own in source)

    def _choose(self) -> None:
        for name, value in CHOICES.items():
            setattr(self.parameters, name, value)

    def _saveAndLoad(self, described: list[dict[str, Any]], mask: np.ndarray) -> None:
        path = self._save()
        choices = {name: plain(getattr(self.parameters, name)) for name in CHOICES}
        self.assertEqual(choices, CHOICES)
        slicer.mrmlScene.Clear(0)
        self.assertEqual(synthetic(), [])
        self.assertIsNone(self.parameters.segmentation)
        self._load(path)
        self._compare(described)
        parameters = self.parameters
        self.assertEqual({name: plain(getattr(parameters, name)) for name in CHOICES}, CHOICES)
        self.assertEqual(parameters.quality.name, "CUSTOM")
        self.assertEqual(parameters.segmentation.GetName(), "Glioma sample")
        self.assertEqual(parameters.originalSegmentation.GetName(), "Glioma sample before editing")
        self.assertTrue(np.array_equal(self._mask(parameters.segmentation), mask))
        self.assertTrue(np.array_equal(self._mask(parameters.originalSegmentation), mask))
        for volume in synthetic():
            self.assertTrue(volume.GetNodeReference("MedDDPM.segmentation") is parameters.segmentation)
        self.assertEqual(self.ui.SeedSpinBox.value, CHOICES["seed"])

    def _compare(self, described: list[dict[str, Any]]) -> None:
        loaded = [describe(volume) for volume in synthetic()]
        self.assertEqual([one["name"] for one in loaded], [one["name"] for one in described])
        for new, old in zip(loaded, described, strict=True):
            self.assertTrue(np.array_equal(new.pop("voxels"), old.pop("voxels")), old["name"])
            self.assertEqual(new, old)
            self.assertIn("MedDDPM.provenance", new["attributes"])

    def _save(self) -> Path:
        path = self.folder / "case.mrb"
        self.assertTrue(slicer.util.saveScene(str(path)))
        say(f"the scene takes {path.stat().st_size / 1e6:.1f} MB")
        with zipfile.ZipFile(path) as bundle:
            headers = [bundle.read(name)[:20_000] for name in bundle.namelist() if name.endswith((".nhdr", ".nrrd"))]
        self.assertEqual(sum(b"MedDDPM.synthetic:=1" in header for header in headers), len(synthetic()))
        return path

    def _load(self, path: Path) -> None:
        self.assertTrue(slicer.util.loadScene(str(path)))
        slicer.app.processEvents()

    def _mask(self, segmentation: Any) -> np.ndarray:
        from MedDDPMSlicerLib.SegmentMasks import composeLabels

        return composeLabels(segmentation, self.context.scheme).data


def describe(volume: Any) -> dict[str, Any]:
    """What must not change."""
    display = volume.GetDisplayNode()
    return {
        "name": volume.GetName(),
        "voxels": slicer.util.arrayFromVolume(volume).copy(),
        "place": np.round(slicer.util.arrayFromVTKMatrix(matrixOf(volume)), 4).tolist(),
        "attributes": {name: volume.GetAttribute(name) for name in volume.GetAttributeNames() if "MedDDPM" in name},
        "window": (display.GetWindowLevelMin(), display.GetWindowLevelMax()),
        "folders": foldersOf(volume),
    }


def matrixOf(volume: Any) -> Any:
    """The matrix from voxels to RAS (mm)."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def synthetic() -> list[Any]:
    """The synthetic volumes of the scene."""
    from MedDDPMSlicerLib.Nodes import syntheticVolumes

    return syntheticVolumes()


def foldersOf(node: Any) -> tuple[str, str]:
    """The names of the folder that a node lies in and of the one above."""
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    inner = tree.GetItemParent(tree.GetItemByDataNode(node))
    return tree.GetItemName(inner), tree.GetItemName(tree.GetItemParent(inner))


def plain(value: Any) -> Any:
    """A list instead of the parameter node's observed one."""
    return list(value) if isinstance(value, list) or type(value).__name__.startswith("Observed") else value
