"""Takes the pictures of the tutorial: 3D Slicer works through it with the demo model, on the sample case.

    Slicer --testing --no-splash --additional-module-paths MedDDPMSynth SegmentEditorMedDDPM \
        --python-script Testing/slicer/screenshots.py OUTFOLDER

is run in the clone, with ``MedDDPMCore`` and ``MedDDPMSlicer`` on ``PYTHONPATH``. That Slicer needs torch.
Further arguments name the pictures that are wanted, by their numbers; without any all seven are taken. Where Pillow is
installed, the files are written with a palette of 256 colors, a third of the size.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driving import activateEffect, clickAt, openModule, rest, setVoxels, voxels, waitUntil
from photography import prepareWindow, savePicture, scroll

SECTIONS = ("Model", "Mask", "Generate", "Results", "Edit", "Batch", "Storage")
# World coordinates, mm: what a slice view must show of the sample case, and its tumor.
HEAD_CENTER, HEAD_SIZE = (0.0, 0.0, 0.0), (146.0, 180.0, 146.0)
TUMOR = (-29.0, 6.0, 14.0)
NEW_LESION = (30.0, -22.0, 14.0)
EDEMA = "Peritumoral edema"
PATIENCE = 75.0
SAMPLES = 3


class Photographer:
    """The module in its window, brought into the states of the tutorial; pictures go to ``out``."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.widget = openModule()
        self.ui, self.parameters = self.widget.ui, self.widget.logic.parameterNode()
        prepareWindow()

    def sampleCase(self) -> None:
        """Step 3: the sample case."""
        self.loadSample()
        self.show("Model", "Mask")
        self.picture("1-sample-case", scrollTo=self.ui.ModelSection)

    def modelAndCheck(self) -> None:
        """Steps 4 and 6: the model, and findings of the check with their buttons."""
        segmentation = self.loadSample()
        with segmentEdit(segmentation, EDEMA) as edema:
            edema[120:124, 4:8, 30:34] = 1  # a speck in the air before the forehead
        with segmentEdit(segmentation, "Brain") as brain:
            brain[88:100, 70:82, 44:56] = 0  # a hole in the healthy hemisphere
        self.waitForCheck(lambda text: "ready" not in text)
        self.show("Model", "Mask")
        self.picture("2-model-and-check", scrollTo=self.ui.FindingsWidget)

    def effect(self) -> None:
        """Step 5: the effect has just placed a second lesion."""
        self.loadSample()
        self.show("Mask")
        lookAt(NEW_LESION)
        effect = activateEffect(self.ui.SegmentEditorWidget)
        effect.frame.tabs.currentIndex = 0
        clickAt("Red", NEW_LESION)
        waitUntil(lambda: not effect.working, "the lesion")
        self.waitForCheck(lambda text: "being" not in text)
        self.picture("3-effect", scrollTo=effect.frame.widget, at=NEW_LESION)
        self.ui.SegmentEditorWidget.setActiveEffect(None)

    def generating(self) -> None:
        """Step 7: a generation of standard quality, two thirds through."""
        self.loadSample()
        self.show("Generate")
        waitUntil(lambda: "memory" in self.ui.EstimateLabel.text, "the estimate")
        run = self.start()
        waitUntil(lambda: run.finished or (run.step or 0) >= 0.7 * (run.total or 1000), "the preview", PATIENCE)
        self.picture("4-generating", scrollTo=self.ui.GenerateSection, settle=0.1)
        run.cancel()
        waitUntil(lambda: run.finished, "the end of the cancelled generation")

    def results(self) -> None:
        """Step 8: the four modalities of a sample of standard quality."""
        self.loadSample()
        run = self.start()
        waitUntil(lambda: run.finished, "the generation", PATIENCE)
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 1, "the row of the sample")
        self.ui.ResultsTable.selectRow(0)
        self.show("Generate", "Results")
        showTwoOverTwo(run.volumes)
        self.picture("5-results", scrollTo=self.ui.ResultsSection)

    def sideBySide(self) -> None:
        """Step 8: several samples of one mask beside each other."""
        from MedDDPMSynthLib.Options import Quality

        self.loadSample()
        self.parameters.samples, self.parameters.quality = SAMPLES, Quality.PREVIEW
        run = self.start()
        waitUntil(lambda: run.finished, "the generation", PATIENCE)
        waitUntil(lambda: self.ui.ResultsTable.rowCount == SAMPLES, "the rows of the samples")
        self.ui.ResultsModalityComboBox.currentText = "T1ce"
        self.show("Generate", "Results")
        self.ui.SideBySideButton.click()
        self.picture("6-side-by-side", scrollTo=self.ui.ResultsSection)

    def batch(self) -> None:
        """Step 10: a batch of three masks and a file that is none."""
        from MedDDPMSynthLib.Options import Quality

        self.loadSample()
        folder = Path(tempfile.mkdtemp(prefix="medddpm-"))
        try:
            writeMasks(folder / "masks")
            self.parameters.quality = Quality.PREVIEW
            self.parameters.batchSource, self.parameters.batchOutput = str(folder / "masks"), str(folder / "results")
            self.show("Batch")
            waitUntil(lambda: self.ui.BatchButton.enabled, "the button of the batch")
            self.ui.BatchButton.click()
            batch = self.widget.logic.service.batch
            waitUntil(lambda: batch.finished or "2 of" in batch.message, "the batch", PATIENCE)
            self.picture("7-batch", scrollTo=self.ui.BatchSection)
            batch.cancel()
            waitUntil(lambda: batch.finished, "the end of the batch")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # What the steps share

    def loadSample(self) -> Any:
        """An empty scene with the sample case, its terms agreed to, checked and shown; returns the segmentation."""
        slicer.mrmlScene.Clear(0)
        self.parameters = self.widget.logic.parameterNode()
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.ui.SampleCaseButton.click()
        waitUntil(lambda: self.ui.SampleCaseButton.enabled, "the sample case")
        if not self.widget.context.agreed:
            self.ui.ModelTermsButton.click()
        self.parameters.seed = 7
        segmentation = self.parameters.segmentation
        self.waitForCheck(lambda text: "ready" in text)
        showIn3d(segmentation)
        return segmentation

    def start(self) -> Any:
        """Press Generate; returns the run."""
        waitUntil(lambda: self.ui.GenerateButton.enabled and self.ui.GenerateButton.text == "Generate", "Generate")
        self.ui.GenerateButton.click()
        return self.widget.logic.service.run

    def waitForCheck(self, condition: Any) -> None:
        """Wait until the line of the check is as wanted."""
        waitUntil(
            lambda: condition(self.ui.CheckStatusLabel.text) and not self.widget.logic.service.check.checking, "check"
        )
        rest(0.3)

    def show(self, *sections: str) -> None:
        """Open these sections only."""
        for name in SECTIONS:
            getattr(self.ui, f"{name}Section").collapsed = name not in sections
        rest(0.2)

    def picture(self, name: str, scrollTo: Any, at: Sequence[float] = TUMOR, settle: float = 0.5) -> None:
        """Save a picture: the panel scrolled to a widget, the slices at a point."""
        rest(settle)
        scroll(scrollTo)
        lookAt(at)
        slicer.util.forceRenderAllViews()
        rest(settle)
        savePicture(self.out / f"{name}.png")


def lookAt(point: Sequence[float]) -> None:
    """All slice views show the whole head, cut at a point (RAS mm)."""
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames():
        node = manager.sliceWidget(name).mrmlSliceNode()
        axes = {"Axial": (0, 1), "Coronal": (0, 2), "Sagittal": (1, 2)}[node.GetOrientation()]
        pixels = node.GetDimensions()
        scale = max(HEAD_SIZE[axis] / pixels[n] for n, axis in enumerate(axes))
        node.SetFieldOfView(pixels[0] * scale, pixels[1] * scale, node.GetFieldOfView()[2])
        node.SetXYZOrigin(0, 0, 0)
        node.JumpSliceByCentering(*HEAD_CENTER)
        node.JumpSliceByOffsetting(*point)
    slicer.app.processEvents()


def showIn3d(segmentation: Any) -> None:
    """The tumor in 3D, within a brain of glass, seen from the front left."""
    display = segmentation.GetDisplayNode()
    segmentation.CreateClosedSurfaceRepresentation()
    core = segmentation.GetSegmentation()
    display.SetSegmentOpacity3D(core.GetSegmentIdBySegmentName("Brain"), 0.2)
    display.SetSegmentOpacity3D(core.GetSegmentIdBySegmentName(EDEMA), 0.4)
    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
    view.mrmlViewNode().SetUseDepthPeeling(True)
    view.resetFocalPoint()
    camera = view.cameraNode().GetCamera()
    camera.SetFocalPoint(*HEAD_CENTER)
    camera.SetPosition(-300, 320, 130)
    camera.SetViewUp(0, 0, 1)
    view.resetCamera()
    camera.Zoom(1.3)


def showTwoOverTwo(volumes: Sequence[Any]) -> None:
    """Four volumes in four axial views, row by row."""
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutTwoOverTwoView)
    slicer.app.processEvents()
    for name, volume in zip(("Red", "Slice4", "Green", "Yellow"), volumes, strict=True):
        widget = manager.sliceWidget(name)
        widget.mrmlSliceNode().SetOrientationToAxial()
        widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())


@contextmanager
def segmentEdit(segmentation: Any, name: str) -> Iterator[np.ndarray]:
    """The voxels (Z,Y,X) of a segment, to be changed."""
    array = voxels(segmentation, name)
    yield array
    setVoxels(segmentation, name, array)


def writeMasks(folder: Path) -> None:
    """The sample mask, the same with the tumor moved and with it mirrored, and a file that is no image."""
    from medddpm.geometry.io import read_mask
    from medddpm.geometry.itk import write_nrrd
    from medddpm.labels.scheme import load_scheme
    from medddpm.masks import mirror_tumor, transform_tumor
    from MedDDPMSlicerLib.Storage import sampleMaskPath
    from MedDDPMSynthLib.SampleCase import SCHEME

    folder.mkdir()
    volume, scheme = read_mask(sampleMaskPath()).volume, load_scheme(SCHEME)
    labels = volume.data.astype(np.uint8)
    masks = {
        "glioma-left": labels,
        "glioma-occipital": transform_tumor(labels, volume.affine, scheme, offset_mm=(0.0, -25.0, 0.0)).labels,
        "glioma-right": mirror_tumor(labels, volume.affine, scheme).labels,
    }
    for name, data in masks.items():
        write_nrrd(folder / f"{name}.nrrd", data, volume.affine)
    (folder / "glioma-damaged.nrrd").write_text("This is no image.")


def main(arguments: Sequence[str]) -> None:
    """Take the pictures."""
    out = Path(arguments[0] if arguments else tempfile.mkdtemp(prefix="medddpm-screenshots-"))
    out.mkdir(parents=True, exist_ok=True)
    shots = Photographer(out)
    steps = (
        *(shots.sampleCase, shots.modelAndCheck, shots.effect, shots.generating),
        *(shots.results, shots.sideBySide, shots.batch),
    )
    for number, step in enumerate(steps, 1):
        if not arguments[1:] or str(number) in arguments[1:]:
            step()
    slicer.mrmlScene.Clear(0)
    slicer.util.exit(0)


main(sys.argv[1:])
