"""Every way in which a generation can end too early: a sentence, no output, no process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import slicer
from driving import OUT, SlicerTestCase, openModule, rest, say, waitUntil, workers

HERE = Path(__file__).resolve().parent


class EndingsTest(SlicerTestCase):
    """Cancel, a killed worker, a model that is gone, a closed scene, a reloaded module."""

    def setUp(self) -> None:
        """Remember what is in the scene before anything is generated."""
        super().setUp()
        self.segmentation = self.loadSample()

    def testCancel(self) -> None:
        """Cancel takes effect within a step; neither images nor files are left, and the worker rests."""
        run = self.startLongGeneration()
        folder = run.folder.path
        begin, first = time.monotonic(), run.step
        waitUntil(lambda: run.step > first or run.finished, "the next steps")
        step = (time.monotonic() - begin) / max(1, run.step - first)
        begin = time.monotonic()
        self.ui.GenerateButton.click()
        waitUntil(lambda: run.finished, "the cancel")
        latency = time.monotonic() - begin
        say(f"cancel took effect after {latency:.2f} s; a step takes {step:.2f} s")
        self.assertEqual(run.state.name, "CANCELLED")
        self.assertLess(latency, 2 * step + 1.0)
        self.assertFalse(folder.exists())
        self._assertNothingLeft()
        rest(0.5)
        self.assertLess(self._workerSeconds(1.0), 0.3, "the worker goes on computing")
        self.assertEqual(self.ui.GenerateButton.text, "Generate")

    @unittest.skipUnless(hasattr(signal, "SIGKILL"), "needs signals of Unix")
    def testKilledWorker(self) -> None:
        """A killed worker is a sentence with the log behind Details; the next generation starts another worker."""
        run = self.startLongGeneration()
        for process in workers():
            os.kill(process, signal.SIGKILL)
        waitUntil(lambda: run.finished, "the end of the run")
        self.assertEqual(run.state.name, "FAILED")
        say(f"killed worker: {run.message}")
        self.assertRegex(run.message, r"^[A-Z].*\.$")
        self.assertIn("stage sample", run.details())
        waitUntil(lambda: self.ui.MessageLabel.text.startswith(run.message[:20]), "the sentence in the panel")
        self.ui.DetailsButton.click()
        self._assertNothingLeft()
        self.fewSteps()
        self.generate()

    def testModelVanished(self) -> None:
        """A model whose weights are gone is named in the sentence; one that is gone altogether disables Generate."""
        library = self.service.library
        folder = Path(tempfile.mkdtemp(prefix="medddpm-model-")) / "mine"
        shutil.copytree(library.describe("demo").path, folder)
        key = library.remember(folder)
        self.parameters.model = key
        self.agree()
        waitUntil(lambda: self.ui.GenerateButton.enabled, "Generate")
        (folder / "model.safetensors").unlink()
        run = self.startGeneration()
        waitUntil(lambda: run.finished, "the end of the run")
        self.assertEqual(run.state.name, "FAILED")
        say(f"weights gone: {run.message}")
        self.assertIn("model.safetensors", run.message)
        shutil.rmtree(folder.parent)
        self.context._describedKey = None
        self.widget.refresh()
        waitUntil(lambda: not self.ui.GenerateButton.enabled, "the disabled button")
        say(f"model gone: {self.ui.GenerateButton.toolTip}")
        library.forget(key)

    def testSceneClosed(self) -> None:
        """Closing the scene ends the job; the next scene is as any other."""
        run = self.startLongGeneration()
        folder = run.folder.path
        slicer.mrmlScene.Clear(0)
        waitUntil(lambda: run.finished, "the end of the run")
        waitUntil(lambda: not folder.exists(), "the end of the job's folder")
        self._assertNothingLeft()
        self.loadSample()
        self.generate()

    def testSegmentationRemoved(self) -> None:
        """Without its segmentation a generation has nowhere to go."""
        run = self.startLongGeneration()
        slicer.mrmlScene.RemoveNode(self.segmentation)
        waitUntil(lambda: run.finished, "the end of the run")
        self.assertIn("removed", run.message)
        self._assertNothingLeft()

    def testModuleReloaded(self) -> None:
        """Reloading the module ends job and worker; the new panel works."""
        run = self.startLongGeneration()
        old = set(workers())
        self.assertTrue(old)
        begin = time.monotonic()
        slicer.util.reloadScriptedModule("MedDDPMSynth")
        say(f"reload took {time.monotonic() - begin:.2f} s")
        waitUntil(lambda: not old & set(workers()), "the end of the workers", 4)
        self.assertTrue(run.finished or run is not self.service.run)
        self.widget = openModule()
        self.ui, self.context = self.widget.ui, self.widget.context
        self.assertTrue(self.ui.SampleCaseButton.visible)
        self.fewSteps()
        self.generate()

    def _assertNothingLeft(self) -> None:
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        self.assertEqual([node.GetName() for node in volumes if "synthetic" in node.GetName()], [])
        files = self.service.storage.exchange
        waitUntil(lambda: not any(files.glob("*.nrrd")), "the end of the exchange files", 3)

    def _workerSeconds(self, seconds: float) -> float:
        """Processor time that sampling takes within ``seconds``."""
        sampling = workers(self.service.storage.synthesisSpool)
        before = sum(map(_processorSeconds, sampling))
        rest(seconds)
        return sum(map(_processorSeconds, sampling)) - before


class ApplicationEndsTest(unittest.TestCase):
    """A second application that ends, or is killed, while its worker samples."""

    def testQuit(self) -> None:
        """No process is left, and the next session is offered the interrupted job."""
        self._checkEnd("quit")

    @unittest.skipUnless(hasattr(signal, "SIGKILL"), "needs signals of Unix")
    def testCrash(self) -> None:
        """The worker of an application that was killed notices it and ends; the job is offered again."""
        self._checkEnd("wait")

    def _checkEnd(self, way: str) -> None:
        from MedDDPMSlicerLib.Storage import Storage

        root = Path(tempfile.mkdtemp(prefix="medddpm-leaving-"))
        application = self._start(root, way)
        try:
            waitUntil((root / "signal").is_file, "the other application's first step")
            self.assertEqual((root / "signal").read_text(), "sampling")
            if way == "wait":
                self.assertTrue(workers(root))
                application.kill()
            waitUntil(lambda: application.poll() is not None, "the end of the other application", 8)
            took = waitUntil(lambda: not workers(root), "the end of its worker", 4)
            say(f"{way}: the worker ended {took:.1f} s after its application")
        finally:
            application.kill()
        self._checkRecovery(Storage(root))
        shutil.rmtree(root, ignore_errors=True)

    def _checkRecovery(self, storage: object) -> None:
        from MedDDPMSynthLib.SynthService import SynthService

        service = SynthService(storage)
        try:
            jobs = service.recovery.found()
            self.assertEqual([(job.finished, job.record.caseName) for job in jobs], [(False, "Glioma sample")])
            service.recovery.discard(jobs[0])
            self.assertEqual(service.recovery.found(), [])
        finally:
            service.shutdown()

    def _start(self, root: Path, way: str) -> subprocess.Popen[bytes]:
        modules = [Path(slicer.util.modulePath(name)).parent for name in ("MedDDPMSynth", "SegmentEditorMedDDPM")]
        command = [slicer.app.applicationFilePath(), "--testing", "--no-splash"]
        command += ["--additional-module-paths", *map(str, modules)]
        command += ["--python-script", str(HERE / "leave_early.py")]
        signalFile = str(root / "signal")
        changed = {"MEDDDPM_STORAGE": str(root), "MEDDDPM_LEAVE": way, "MEDDDPM_SIGNAL": signalFile}
        with (OUT / f"leaving-{way}.log").open("wb") as log:
            return subprocess.Popen(command, env={**os.environ, **changed}, stdout=log, stderr=subprocess.STDOUT)


def _processorSeconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
