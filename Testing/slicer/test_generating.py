"""Generating with the demo model in the real worker: preview, progress, results in the scene, and a GUI that flows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest.mock
from datetime import datetime
from pathlib import Path

import numpy as np
import slicer
from driving import SlicerTestCase, grab, otherComputer, say, waitUntil, workers
from MedDDPMSlicerLib.Processes import slicerPython, workerEnvironment
from stalls import StallMeter

# Writes an untrained Pix2Pix model for the labels and images of the demo model.
GAN = """
import sys
from dataclasses import replace
import torch
from pathlib import Path
from medddpm.config import GridConfig, NetworkConfig, ScheduleConfig
from medddpm.models.places import find_config
from medddpm.models.registry import save_model_folder
from medddpm.network.build import build_network
demo = find_config("demo")
network = NetworkConfig(4, len(demo.scheme.labels), 8, (1, 2), groups=4, domain="pix2pix")
schedule = ScheduleConfig(1, "one-step", prediction="x0")
grid = GridConfig((48, 56, 40), (4.0, 4.0, 4.0), "LPS")
changes = {"name": "Pix2Pix", "network": network, "schedule": schedule, "grid": grid}
config = replace(demo, **changes, sampler="ddim", sampler_steps=1, weights_sha256=None)
torch.manual_seed(0)
save_model_folder(Path(sys.argv[1]), config, build_network(network).state_dict())
"""


class GeneratingTest(SlicerTestCase):
    """From the button Generate to volumes in the scene."""

    def testFromMaskToVolumes(self) -> None:
        """Progress and preview while it samples; then four named, placed and grouped volumes under the outline."""
        segmentation = self.loadSample()
        self.fewSteps(4)
        self.parameters.seed = 7
        run = self.startGeneration()
        self.assertEqual(self.ui.GenerateButton.text, "Cancel")
        waitUntil(lambda: self._preview() is not None or run.finished, "the preview")
        self.assertIsNotNone(self._preview(), run.message)
        waitUntil(lambda: self.ui.ProgressBar.visible and "step" in self.ui.ProgressLabel.text, "the progress")
        self.assertIs(self._background(), self._preview())
        self.assertFalse(segmentation.GetDisplayNode().GetVisibility2DFill())
        grab("preview")
        waitUntil(lambda: run.finished, "the generation")
        self.assertEqual(run.state.name, "DONE", run.message)
        self.assertIsNone(self._preview())
        self._checkVolumes(run, segmentation)
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 1, "the row of the sample")
        self.assertEqual(self.parameters.seed, 8)
        grab("results")

    def testWarmWorkerSkipsLoading(self) -> None:
        """A second generation is made by the same process, without loading the model again."""
        self.loadSample()
        self.generate()
        before = workers()
        self.assertTrue(before)
        began = time.monotonic()
        run = self.generate()
        say(f"second generation with a warm worker: {time.monotonic() - began:.1f} s")
        self.assertEqual(workers(), before)
        loading = self._loadingSeconds(run.details())
        say(f"of which loading the model: {loading:.2f} s")
        self.assertLess(loading, 1.0)

    def testOnAnotherComputer(self) -> None:
        """Asked once whether the images may be sent there; the results are those of a job here.

        The other computer is this one, behind a stand-in for ssh.
        """
        home, asked = otherComputer(self), []
        former = set(workers())  # that do not know this path
        for worker in former:
            os.kill(worker, signal.SIGKILL)
        waitUntil(lambda: not former & set(workers()), "the end of the worker")
        answers = [False, True]
        with unittest.mock.patch.object(
            slicer.util, "confirmOkCancelDisplay", lambda text, *_: asked.append(text) or answers.pop(0)
        ):
            self.loadSample()
            self.context.set("on", f"box:{home / 'medddpm'}")
            before = self.service.run
            waitUntil(lambda: self.ui.GenerateButton.enabled, "Generate")
            self.ui.GenerateButton.click()
            self.assertIs(self.service.run, before)  # No was the answer
            run = self.generate()
            self.generate()
        self.assertEqual(len(asked), 2)
        self.assertIn("'box:", asked[0])
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 2, "the rows of the samples")
        self.assertEqual(len(run.volumes), 4)
        self.assertFalse([path for path in (home / "cache/medddpm/jobs").iterdir() if path.is_dir()])

    def testGan(self) -> None:
        """A Pix2Pix model, which makes an image in one step, is a model like any other."""
        folder = Path(tempfile.mkdtemp()) / "pix2pix"
        self.addCleanup(shutil.rmtree, folder.parent, ignore_errors=True)
        subprocess.run([*slicerPython(), "-c", GAN, str(folder)], check=True, env=workerEnvironment())
        self.loadSample()
        key = self.service.library.remember(folder)
        self.addCleanup(self.service.library.forget, key)
        self.parameters.model = key
        self.agree()
        from MedDDPMSynthLib.Options import Quality

        self.parameters.quality = Quality.STANDARD
        run = self.generate()
        self.assertEqual([volume.GetAttribute("MedDDPM.steps") for volume in run.volumes], ["1"] * 4)
        waitUntil(lambda: self.ui.ResultsTable.rowCount == 1, "the row of the sample")
        self.assertEqual(self.ui.ResultsTable.item(0, 4).text(), "Pix2Pix")
        grab("gan")

    def testApplicationStaysAlive(self) -> None:
        """While a job runs and its four volumes are imported, the GUI thread never works longer than 100 ms."""
        self.loadSample()
        self.fewSteps(4)
        self.parameters.samples = 2
        worst = None
        for attempt in range(1, 4):
            with StallMeter(self.service._timer, self.widget.timer) as meter:
                self.generate()
            say(f"attempt {attempt}: {meter.summary()}")
            worst = meter if worst is None or meter.longestCpu < worst.longestCpu else worst
            if worst.longestCpu < 0.1:
                break
        self.assertLess(worst.longestCallback, 0.1, worst.summary())
        self.assertLess(worst.longestCpu, 0.1, worst.summary())

    def testScript(self) -> None:
        """The example of the documentation: ``MedDDPMSynthLogic().synthesize(...)`` returns the nodes."""
        from MedDDPMSynth import MedDDPMSynthLogic

        segmentation, ended = self.loadSample(), []
        volumes = MedDDPMSynthLogic().synthesize(
            segmentation, steps=2, seed=3, modalities=["T1ce"], onFinished=ended.append
        )
        self.assertEqual([volume.GetAttribute("MedDDPM.modality") for volume in volumes], ["T1ce"])
        self.assertEqual([run.volumes for run in ended], [volumes])

    def testEstimate(self) -> None:
        """Before the run the panel says how long it takes and whether it fits."""
        self.loadSample()
        waitUntil(lambda: "memory" in self.ui.EstimateLabel.text, "the estimate")
        self.assertRegex(self.ui.EstimateLabel.text, r"about .* GB of memory")

    def _checkVolumes(self, run: object, segmentation: object) -> None:
        self.assertEqual(
            [volume.GetName() for volume in run.volumes],
            [f"{name} 01 – Glioma sample (synthetic)" for name in ("T1", "T1ce", "T2", "FLAIR")],
        )
        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(run.volumes[0]))
        self.assertEqual(hierarchy.GetItemName(folder), "Sample 01 (seed 7)")
        self.assertEqual(hierarchy.GetItemName(hierarchy.GetItemParent(folder)), "Glioma sample – synthetic")
        inside = self._labels(segmentation)
        for volume in run.volumes:
            display = volume.GetDisplayNode()
            self.assertEqual((display.GetWindowLevelMin(), display.GetWindowLevelMax()), (0.0, 1000.0))
            self.assertEqual(volume.GetAttribute("MedDDPM.seed"), "7")
            array = slicer.util.arrayFromVolume(volume)
            self.assertEqual(array.shape, inside.shape)
            self.assertGreater(float(np.mean(array[inside])), 2 * float(np.mean(array[~inside])) + 50)
        self.assertIs(self._background(), run.volumes[0])
        self.assertTrue(segmentation.GetDisplayNode().GetVisibility2DOutline())

    def _loadingSeconds(self, log: str) -> float:
        """Time between the begin of loading and of the next stage, in the log of a job."""
        lines = [line for line in log.splitlines() if ": stage " in line]
        times = [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f") for line in lines]
        self.assertTrue(lines[0].endswith("stage load"), log)
        return (times[1] - times[0]).total_seconds()

    def _labels(self, segmentation: object) -> np.ndarray:
        from MedDDPMSlicerLib.SegmentMasks import composeLabels

        return composeLabels(segmentation, self.context.scheme).data.T > 0

    def _preview(self) -> object:
        preview = slicer.util.getFirstNodeByName("T1 preview")
        return preview if preview is not None and "preview" in preview.GetName() else None

    def _background(self) -> object:
        view = slicer.app.layoutManager().sliceWidget("Red")
        return slicer.mrmlScene.GetNodeByID(view.mrmlSliceCompositeNode().GetBackgroundVolumeID())
