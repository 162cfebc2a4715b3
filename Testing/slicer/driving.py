"""What the tests in the application share: a clean scene, the module's panel, waiting, and a place for files.

Import it before the module is used: it gives the application a storage of its own, so that no test touches the user's.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import time
import unittest
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from MedDDPMSlicerLib import Background
from MedDDPMSlicerLib.Processes import slicerPython, workerEnvironment

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))
from patience import patient

OUT = Path(os.environ.get("MEDDDPM_TEST_OUT") or tempfile.mkdtemp(prefix="medddpm-slicer-tests-"))
OUT.mkdir(parents=True, exist_ok=True)
os.environ["MEDDDPM_STORAGE"] = tempfile.mkdtemp(prefix="medddpm-storage-")

WINDOW = (1600, 1000)
# Lines of printed nodes that say nothing of what is shown.
UNSTABLE = re.compile("0x[0-9a-f]+|Time:|Count|Registered|Debug|Observer|Event|Generation:|Priority:|^Tag:|none")
FEW_STEPS = 2


class ModuleTestCase(unittest.TestCase):
    """A test that begins with an empty scene and the open ``module``."""

    module: str

    def setUp(self) -> None:
        """Open the module in an empty scene; from now on errors in the log are failures."""
        slicer.util.mainWindow().resize(*WINDOW)
        slicer.mrmlScene.Clear(0)
        self.widget = openModule(self.module)
        self.ui, self.context = self.widget.ui, self.widget.context
        self.log = ErrorLog()
        logging.getLogger().addHandler(self.log)

    def tearDown(self) -> None:
        """Nothing goes on, and nothing was logged as an error."""
        logging.getLogger().removeHandler(self.log)
        slicer.mrmlScene.Clear(0)
        self.endWork()
        self.assertEqual(self.log.messages, [])

    def endWork(self) -> None:
        """End what goes on still, now that the scene is closed."""
        raise NotImplementedError

    @property
    def service(self) -> Any:
        """The service of the application."""
        return self.widget.logic.service

    @property
    def parameters(self) -> Any:
        """The parameter node of the scene."""
        return self.widget.logic.parameterNode()

    def panel(self, attribute: str) -> Any:
        """The panel that has this attribute."""
        return next(panel for panel in self.widget.panels if hasattr(panel, attribute))


class SlicerTestCase(ModuleTestCase):
    """A test of MedDDPM Synth that ends every job that it began."""

    module = "MedDDPMSynth"

    def endWork(self) -> None:
        """The jobs end with their scene."""
        waitUntil(lambda: not self.service.jobs.active, "the end of all jobs")

    def loadSample(self) -> Any:
        """Press "Load sample case", agree to the terms, choose a few steps; returns the segmentation node."""
        self.ui.SampleCaseButton.click()
        waitUntil(lambda: self.ui.SampleCaseButton.enabled, "the sample case")
        self.agree()
        self.fewSteps()
        segmentation = self.parameters.segmentation
        self.assertIsNotNone(segmentation, self.ui.CheckStatusLabel.text)
        return segmentation

    def agree(self) -> None:
        """Agree to the terms of the model where they are shown."""
        if not self.context.agreed:
            self.ui.ModelTermsButton.click()

    def fewSteps(self, steps: int = FEW_STEPS) -> None:
        """Choose the fastest custom quality."""
        from MedDDPMSynthLib.Options import Quality

        self.parameters.quality = Quality.CUSTOM
        self.parameters.steps = steps

    def startGeneration(self) -> Any:
        """Press Generate as soon as it can be pressed; returns the run."""
        waitUntil(lambda: self.ui.GenerateButton.enabled and self.ui.GenerateButton.text == "Generate", "Generate")
        before = self.service.run
        self.ui.GenerateButton.click()
        run = self.service.run
        self.assertIsNot(run, before, self.ui.MessageLabel.text)
        return run

    def generate(self) -> Any:
        """Press Generate and wait for the end, which must be a good one; returns the run."""
        from medddpm.jobs.events import State

        run = self.startGeneration()
        waitUntil(lambda: run.finished, "the generation")
        self.assertIs(run.state, State.DONE, f"{run.message}\n{run.details()}")
        return run

    def startLongGeneration(self) -> Any:
        """Start a generation of many steps and wait for its first steps; returns the run."""
        self.fewSteps(200)
        run = self.startGeneration()
        waitUntil(lambda: (run.step or 0) >= 2 or run.finished, "the first steps")
        self.assertFalse(run.finished, run.message)
        return run


class ErrorLog(logging.Handler):
    """Collects errors that are logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Remember one error, with its trace."""
        self.messages.append(logging.Formatter().format(record))


def waitUntil(condition: Callable[[], object], what: str, seconds: float = 75) -> float:
    """Let the application work until a condition holds; ``seconds`` of an idle machine are the limit."""
    return Background.waitUntil(condition, what, patient(seconds))


def activateEffect(editor: Any) -> Any:
    """Choose the effect MedDDPM in an editor; returns its Python object."""
    editor.setActiveEffectByName("MedDDPM")
    return editor.activeEffect().self()


def clickAt(viewName: str, ras: tuple[float, float, float]) -> None:
    """Press and release the left button in a slice view at a point (RAS mm)."""
    dragFrom(viewName, ras, ras)


def dragFrom(viewName: str, start: tuple[float, float, float], end: tuple[float, float, float]) -> None:
    """Drag with the left button in a slice view, from point to point (RAS mm)."""
    widget, events = slicer.app.layoutManager().sliceWidget(viewName), vtk.vtkCommand
    interactor = widget.sliceView().interactorStyle().GetInteractor()
    toPixel = np.linalg.inv(slicer.util.arrayFromVTKMatrix(widget.mrmlSliceNode().GetXYToRAS()))
    first, last = ((toPixel @ [*point, 1.0])[:2].round().astype(int).tolist() for point in (start, end))
    moves = [(events.MouseMoveEvent, first), (events.LeftButtonPressEvent, first)]
    for event, pixel in [*moves, (events.MouseMoveEvent, last), (events.LeftButtonReleaseEvent, last)]:
        interactor.SetEventInformation(*pixel, 0, 0, "\0", 0, None)
        interactor.InvokeEvent(event)
        slicer.app.processEvents()


def openModule(name: str = "MedDDPMSynth") -> Any:
    """Open a module; returns its widget."""
    slicer.util.selectModule(name)
    slicer.app.processEvents()
    return getattr(slicer.modules, f"{name}Widget")


def rest(seconds: float) -> None:
    """Let the application work for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.005)


def grab(name: str) -> Path:
    """Save a picture of the main window; returns the file."""
    rest(0.3)
    path = OUT / f"{name}.png"
    if not slicer.util.mainWindow().grab().save(str(path)):
        raise AssertionError(f"no picture could be written to {path}")
    return path


def shownState() -> dict[str, list[str]]:
    """Views, layout, cameras, displays and all that is chosen in the scene: what its nodes print, but for counters."""
    kinds = "Slice SliceComposite View Camera Layout Selection Interaction SegmentationDisplay ScalarVolumeDisplay"
    kinds += " SegmentEditor ScriptedModule Crosshair Segmentation"
    state = {}
    for kind in kinds.split():
        for node in slicer.util.getNodesByClass(f"vtkMRML{kind}Node"):
            lines = [line.strip() for line in str(node).splitlines()]
            state[f"{node.GetID()} {node.GetName()}"] = [line for line in lines if not UNSTABLE.search(line)]
    return state


def voxels(segmentation: Any, name: str) -> np.ndarray:
    """A copy of the voxels (Z,Y,X) of the segment of this name, on the grid that the mask is painted on."""
    where = (segmentation, segmentId(segmentation, name), _canvas(segmentation))
    return slicer.util.arrayFromSegmentBinaryLabelmap(*where)


def setVoxels(segmentation: Any, name: str, array: np.ndarray) -> None:
    """Give a segment these voxels."""
    where = (segmentation, segmentId(segmentation, name), _canvas(segmentation))
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, *where)


def count(segmentation: Any, name: str) -> int:
    """The number of voxels of a segment."""
    return int(voxels(segmentation, name).sum())


def segmentId(segmentation: Any, name: str) -> str:
    """The ID of the segment of this name."""
    return segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)


def _canvas(segmentation: Any) -> Any:
    from MedDDPMSynthLib.Panels.EmptyMask import canvasOf

    return canvasOf(segmentation)


def say(text: str) -> None:
    """A line for the log of the tests."""
    print(f"  [{text}]", flush=True)


def workers(folder: Path | None = None) -> list[int]:
    """Process IDs of what works for a spool below ``folder``, usually the application's storage; for Linux.

    The command line names the spool. PythonSlicer, a launcher, may appear as well.
    """
    return processes("medddpm.jobs", str(folder or os.environ["MEDDDPM_STORAGE"]))


def processes(module: str, place: str) -> list[int]:
    """Process IDs of what runs a Python module on something at or below a place; for Linux."""
    return [pid for pid, words in _commandLines() if module in words and any(place in word for word in words)]


def _commandLines() -> list[tuple[int, list[str]]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append((int(folder.name), words))
    return found


def otherComputer(test: unittest.TestCase) -> Path:
    """This computer behind a stand-in for ssh, until the test ends; the folder with its ``medddpm`` and ``cache``."""
    home = OUT / "other computer"
    home.mkdir(exist_ok=True)
    python = " ".join(slicerPython())
    for name, text in {
        "ssh": f'while [ "$1" = -o ]; do shift 2; done; shift; XDG_CACHE_HOME="{home}/cache" exec sh -c "$1"',
        "medddpm": f'export PYTHONPATH="{workerEnvironment()["PYTHONPATH"]}"; exec {python} -m medddpm.cli "$@"',
    }.items():
        (home / name).write_text(f"#!/bin/sh\n{text}\n")
        (home / name).chmod(0o755)
    patch = unittest.mock.patch.dict(os.environ, PATH=f"{home}{os.pathsep}{os.environ['PATH']}")
    patch.start()
    test.addCleanup(patch.stop)
    return home
