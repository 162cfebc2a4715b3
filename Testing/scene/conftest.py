"""The scene's tests run on Slicer's real MRML classes, from the ``slicer-core`` wheels, without the application.

What the application adds to the module ``slicer`` (scene, application logic, module logics) is set up here as far as it
works without Qt. Where slicer-core is not installed, the whole folder is skipped with one line.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for _name in ("MedDDPMCore", "MedDDPMSlicer", "MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM"):
    if str(ROOT / _name) not in sys.path:
        sys.path.insert(0, str(ROOT / _name))

# One thread here and in the workers that tests start: they share the machine with other tests.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402 - after the number of threads
import pytest  # noqa: E402
from scene_phantoms import GEOMETRIES, brain  # noqa: E402

HAS_SLICER = importlib.util.find_spec("slicer") is not None
if not HAS_SLICER:
    collect_ignore_glob = ["test_*.py"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line that the folder is skipped, and why."""
    if not HAS_SLICER:
        terminalreporter.write_line(
            "SKIPPED Testing/scene: slicer-core is not installed here (see CONTRIBUTING.md)", yellow=True
        )


class Application:
    """Stands in for ``slicer.app``: the parts that work without Qt, with Slicer's real application logic."""

    def __init__(self, folder: Path) -> None:
        import slicer

        self._logic = slicer.vtkSlicerApplicationLogic()
        self.slicerUserSettingsFilePath = str(folder / "Slicer.ini")
        self.slicerHome = ""
        self.temporaryPath = str(folder)
        self._logic.SetTemporaryPath(str(folder))
        self._logic.SetHomeDirectory(str(folder))
        self._logic.SetShareDirectory(str(folder))

    def applicationLogic(self) -> Any:
        """The application logic."""
        return self._logic

    def testingEnabled(self) -> bool:
        """As in a test run of the application."""
        return True

    def processEvents(self) -> None:
        """There is no event loop."""

    def translate(self, _context: str, text: str) -> str:
        """The text itself: no translation is loaded."""
        return text


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    """``slicer.app`` and ``slicer.modules`` with the logics of the modules that this extension uses."""
    import slicer

    app = Application(tmp_path_factory.mktemp("slicer"))
    logics = {
        "volumes": slicer.vtkSlicerVolumesLogic(),
        "segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "subjecthierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
        "colors": slicer.vtkSlicerColorLogic(),
        "sequences": slicer.vtkSlicerSequencesLogic(),
    }
    for name, logic in logics.items():
        logic.SetMRMLApplicationLogic(app.applicationLogic())
        app.applicationLogic().SetModuleLogic(name.capitalize(), logic)
    app.applicationLogic().SetColorLogic(logics["colors"])
    slicer.app = app
    slicer.modules = SimpleNamespace(**{name: _module(logic) for name, logic in logics.items()})
    app.logics = list(logics.values())
    return app


def _module(logic: Any) -> SimpleNamespace:
    return SimpleNamespace(logic=lambda: logic)


@pytest.fixture
def scene(application: Application) -> Iterator[Any]:
    """A fresh ``slicer.mrmlScene`` that all logics observe."""
    import slicer

    fresh = slicer.vtkMRMLScene()
    slicer.mrmlScene = fresh
    for logic in (application.applicationLogic(), *application.logics):
        logic.SetMRMLScene(fresh)
    yield fresh
    for logic in (*application.logics, application.applicationLogic()):
        logic.SetMRMLScene(None)
    fresh.Clear(1)
    _forget_conversions()


def _forget_conversions() -> None:
    """Each scene registers the conversions of segments again, and whatever copies a segmentation goes through all."""
    import slicer

    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    for source, target in permutations(("Binary labelmap", "Closed surface", "Fractional labelmap"), 2):
        while factory.DisableConverterRule(source, target):
            pass


@pytest.fixture(params=("left-handed", "permuted", "oblique"))
def affine(request: pytest.FixtureRequest) -> np.ndarray:
    """Affines (voxel -> RAS mm) of the kinds that differ: mirrored, with other axes, oblique with thick slices."""
    return GEOMETRIES[request.param].copy()


@pytest.fixture
def segmentationNode(scene: Any) -> Any:
    """An empty segmentation node with display node."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Case")
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def paintedSegmentation(segmentationNode: Any, affine: np.ndarray) -> Any:
    """The labels of ``brain()`` as segments of the brats scheme, in every geometry of ``affine``."""
    from medddpm.geometry.volume import Volume
    from medddpm.labels.scheme import load_scheme
    from MedDDPMSlicerLib.SegmentMasks import applyLabels

    applyLabels(segmentationNode, load_scheme("brats"), Volume(brain(), affine))
    return segmentationNode


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    """A Storage in a temporary folder."""
    from MedDDPMSlicerLib.Storage import Storage

    return Storage(tmp_path / "storage")


@pytest.fixture(scope="session")
def workerPython() -> str:
    """The Python for worker processes. The one that runs the tests need not have torch; the variable names one."""
    return os.environ.get("MEDDDPM_WORKER_PYTHON", sys.executable)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The storage that the services of one test file share, with their warm workers."""
    from synth_helpers import endWorkers

    folder = tmp_path_factory.mktemp("storage")
    yield folder
    endWorkers(folder)


@pytest.fixture
def service(scene: Any, root: Path, workerPython: str) -> Iterator[Any]:
    """The service of MedDDPM Synth on the scene, with real workers."""
    from synth_helpers import lentService

    yield from lentService(root, workerPython)


@pytest.fixture
def workerProcess(workerPython: str) -> Iterator[Callable[..., Any]]:
    """Makes WorkerProcess objects for a spool; ends them with the test."""
    from MedDDPMSlicerLib.Processes import WorkerProcess

    made: list[WorkerProcess] = []

    def make(spool: Path, **options: Any) -> WorkerProcess:
        options.setdefault("python", [workerPython])
        made.append(WorkerProcess(spool, **options))
        return made[-1]

    yield make
    for process in made:
        process.kill()


@pytest.fixture(scope="session")
def modelFolder(workerPython: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights (brats labels to T1 and FLAIR, 10 mm), made by the worker's Python."""
    return _tinyModel(workerPython, tmp_path_factory, "brats")


@pytest.fixture(scope="session")
def anatomyModel(workerPython: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with tissues."""
    return _tinyModel(workerPython, tmp_path_factory, "glioma-anatomy")


def _tinyModel(workerPython: str, tmp_path_factory: pytest.TempPathFactory, scheme: str) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    has_torch = [workerPython, "-c", "import torch, safetensors"]
    if subprocess.run(has_torch, capture_output=True, check=False).returncode:
        pytest.skip("torch is not installed in the worker's Python (name one in MEDDDPM_WORKER_PYTHON)")
    script = Path(__file__).with_name("tiny_model.py")
    made = subprocess.run([workerPython, str(script), str(folder), scheme], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def trainingService(scene: Any, root: Path, workerPython: str) -> Iterator[Any]:
    """The service of MedDDPM Training on the scene, with real workers."""
    import training_helpers

    yield from training_helpers.lentService(root, workerPython)


@pytest.fixture
def makeTrainingService(scene: Any, workerPython: str, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes services of MedDDPM Training with one storage: sessions one after the other. All end with the test."""
    import training_helpers

    made: list[Any] = []

    def make(python: str | list[str] = workerPython, **more: Any) -> Any:
        made.append(training_helpers.newService(tmp_path / "storage", python, **more))
        return made[-1]

    yield make
    for service in made:
        service.shutdown()
