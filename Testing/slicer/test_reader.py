"""The reader study in the application: made from two folders, read by keyboard, paused, resumed, analyzed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import qt
import slicer
from driving import SlicerTestCase, grab, rest, say, waitUntil
from medddpm.geometry.marks import DESCRIPTION
from medddpm.geometry.nifti import write_image
from medddpm.studies.agreement import analyze
from medddpm.studies.reading import KEY, read_key


class ReaderTest(SlicerTestCase):
    """A study of two real and two synthetic heads."""

    def setUp(self) -> None:
        """Write the images."""
        super().setUp()
        self.folder = Path(tempfile.mkdtemp(prefix="medddpm-readers-"))
        rng = np.random.default_rng(0)
        for n in range(2):
            for folder, name, mark in (("real", f"P{n}_t1ce", "scan"), ("made", f"m{n}_sample-01_T1ce", DESCRIPTION)):
                points = np.indices((60, 70, 56)) - np.array([30, 35, 28]).reshape(3, 1, 1, 1)
                head = (points**2).sum(0) < (20 + 2 * n) ** 2
                image = np.where(head, rng.uniform(300, 900, head.shape), 0).astype(np.float32)
                write_image(self.folder / folder / f"{name}.nii.gz", image, np.diag([-2.0, -2.0, 2.0, 1.0]), mark)
        self.panel = next(panel for panel in self.widget.panels if hasattr(panel, "study"))
        self.panel.section.collapsed = False

    def tearDown(self) -> None:
        """Nothing is left."""
        self.panel.pause()
        super().tearDown()
        shutil.rmtree(self.folder)

    def press(self, key: str) -> None:
        """A key of the keyboard, as the window system sends it."""
        subprocess.run(["xdotool", "key", key], check=True, timeout=20)
        rest(0.3)

    def testAStudyIsMadeReadPausedResumedAndAnalyzed(self) -> None:
        """Nothing in the scene tells the images apart; the views are as before when the reader pauses."""
        panel, out = self.panel, self.folder / "study"
        for name, line in panel._sources.items():
            line.currentPath = str({"real": self.folder / "real", "synthetic": self.folder / "made", "out": out}[name])
        panel.making.collapsed = False
        panel.each.value = 2
        panel.makeButton.click()
        self.assertIsNotNone(panel._making, panel.problem)
        waitUntil(lambda: panel._making.finished, "the study")
        self.assertEqual(panel.problem, "")
        self.assertTrue((out / KEY).exists())
        before = self.views()
        panel.reader.text = "R1"
        panel.startButton.click()
        self.assertIsNotNone(panel.study, panel.message.text)
        rest(1.0)
        grab("reader-volume")
        slicer.util.mainWindow().activateWindow()
        names, windows = set(), set()
        for n in range(3):
            (node,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            names.add((node.GetName(), node.GetStorageNode() is None, tuple(node.GetAttributeNames() or ())))
            display = node.GetDisplayNode()
            windows.add((display.GetWindow(), display.GetLevel()))
            self.press("r" if n % 2 else "s")
            self.assertEqual(panel.choice, "real" if n % 2 else "synthetic")
            self.press(str(n + 1))
            self.assertEqual(len(panel.study.session.done), n + 1, panel.message.text)
        self.assertEqual((len(names), len(windows)), (1, 1))
        self.press("BackSpace")
        self.assertEqual(len(panel.study.session.done), 2)
        panel.startButton.click()
        self.assertEqual(self.views(), before)
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), 0)
        self.assertIn("2 of 8", panel.message.text)
        panel.startButton.click()
        self.assertEqual(len(panel.study.session.done), 2)
        key = read_key(out, panel.study.session.plan)
        while panel.study is not None:
            if panel.study.item.part == "slices" and panel.study.item.number == 1:
                rest(0.5)
                grab("reader-slice")
            panel.choose(key[panel.study.item.number])
            panel.rate(5)
            qt.QApplication.processEvents()
        self.assertIn("Thank you", panel.message.text)
        self.assertEqual(self.views(), before)
        found = analyze(out)
        say(f"{found.figures[0].accuracy.value:.2f} of {found.figures[0].accuracy.cases} right")
        self.assertEqual([figures.accuracy.cases for figures in found.figures], [4, 4])
        self.assertEqual(found.figures[1].accuracy.value, 1)

    def testWhatCannotBeReadIsTold(self) -> None:
        """No folder, no study in it, no name."""
        panel = self.panel
        panel.reader.text = panel.folder.currentPath = ""
        panel.startButton.click()
        self.assertIn("Choose the folder", panel.message.text)
        panel.folder.currentPath = str(self.folder)
        panel.startButton.click()
        self.assertIn("Name the reader", panel.message.text)
        panel.reader.text = "R1"
        panel.startButton.click()
        self.assertIn("no reader study", panel.message.text)
        self.assertIsNone(panel.study)

    def views(self) -> list[object]:
        """What the views show, and how they are arranged."""
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode().GetViewArrangement()
        shown = [c.GetBackgroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
        return [layout, *shown]
