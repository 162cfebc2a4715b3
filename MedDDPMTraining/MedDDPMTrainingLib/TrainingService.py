"""Everything of the module that is not a widget. One lives as long as the application."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError
from MedDDPMSlicerLib.Background import Background, SlicedTask
from MedDDPMSlicerLib.Dependencies import TRAINING, PackageWatch, Use, missingPackages
from MedDDPMSlicerLib.Jobs import monitorOf
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.PlainSentences import sentenceOf
from MedDDPMSlicerLib.Storage import Settings, defaultSettings

from . import Orders
from .Datasets import Datasets
from .Estimate import TrainEstimate, TrainingEstimator
from .Preparation import Preparation
from .Readiness import Readiness
from .Run import TrainingRun
from .Runs import Runs
from .RunView import RunView
from .SourceScan import SourceScanner

logger = logging.getLogger(__name__)


class TrainingService(Background):
    """Owns storage, workers and whatever runs; ``poll`` lets it go on, which a timer calls.

    ``scan`` looks at source folders, ``preparation`` makes datasets, ``datasets`` describes them, ``estimate`` answers
    before a start, ``runs`` lists, starts and ends trainings, ``view`` follows one, ``library`` has the models.
    ``python``: the interpreter of workers and trainings, None for Slicer's own. All methods return at once; only
    impossible orders raise MedDDPMError.
    """

    def __init__(
        self,
        storage: Any,
        python: Sequence[str] | None = None,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
        missing: Callable[[Use], Sequence[Any]] = missingPackages,
    ) -> None:
        self.settings = settings or defaultSettings()
        self.toolsJobs = monitorOf(storage.trainingToolsSpool, python)
        self.preparationJobs = monitorOf(storage.preparationSpool, python)
        super().__init__(storage, (self.toolsJobs, self.preparationJobs), slicer.mrmlScene.EndCloseEvent)
        self.library = ModelLibrary(storage.models, self.settings)
        self.scan = SourceScanner(self.toolsJobs)
        self.preparation = Preparation(self.preparationJobs)
        self.datasets = Datasets()
        self.estimate = TrainingEstimator(self.toolsJobs)
        self.runs = Runs(self.settings, storage.runs, python, clock)
        self.view = RunView(clock)
        self._packages = PackageWatch(missing)
        self._readiness = Readiness(self.scan, self.datasets, self.library, self._packages)
        self.preparation.recover()

    def scanSource(self, parameterNode: Any) -> None:
        """Look at the source folder. Raises InputError where ``blockedReason`` has one."""
        self._require("scan", parameterNode)
        node = parameterNode
        self.scan.scan(node.sourceFolder, node.layout or "auto", node.tableFile or None)
        self.startTimer()

    def prepare(self, parameterNode: Any) -> Preparation:
        """Prepare what the parameter node says. Raises InputError where ``blockedReason`` has one, or a choice does
        not fit.
        """
        self._require("prepare", parameterNode)
        return self.startPreparation(Orders.prepareRequest(parameterNode))

    def startPreparation(self, request: dict[str, Any]) -> Preparation:
        """Prepare; ``request`` are the fields of ``PrepareOptions``. Raises InputError where one is going on."""
        self.preparation.start(request)
        self.startTimer()
        return self.preparation

    def train(self, parameterNode: Any) -> TrainingRun:
        """Start the training of the parameter node, detached.

        Raises InputError where ``blockedReason`` has one, or a choice does not fit.
        """
        self._require("train", parameterNode)
        node = parameterNode
        config = Orders.trainConfig(node, self.library)
        folder = Orders.newRunFolder(node.runsFolder, config.name, self.storage.runs)
        return self.runs.begin(folder, config)

    def requestEstimate(
        self,
        parameterNode: Any,
        onDone: Callable[[TrainEstimate], None],
        onError: Callable[[str], None] | None = None,
    ) -> None:
        """Ask how long the parameter node's training takes and whether it fits; newer questions replace older."""
        reason = self._readiness.train(parameterNode)
        if reason is None:
            try:
                self.estimate.ask(Orders.trainConfig(parameterNode, self.library), onDone, onError)
                self.startTimer()
            except InputError as exc:
                reason = sentenceOf(exc)
        if reason is not None and onError is not None:
            onError(reason)

    def useInSynth(self, path: str | Path) -> str:
        """Put the newest model of a run into the list that MedDDPM Synth offers; returns its key there.

        It stays where it is, so that a training that goes on improves it. Raises InputError where there is none yet, or
        it is damaged.
        """
        run = self.runs.of(path)
        run.look()
        self.library.lastUsed = key = self.library.remember(run.modelFolder)
        return key

    def datasetSummary(self, folder: str | Path) -> str:
        """A line on a prepared dataset. Raises InputError where the folder is none."""
        return self.datasets.describe(folder).sentence

    def defaultDatasetFolder(self, sourceFolder: str | Path) -> Path:
        """Where the dataset of a source folder is written unless another folder is chosen: private to the user."""
        return self.storage.datasets / (Orders.safeName(Path(sourceFolder).name) or "dataset")

    def deleteRun(
        self, path: str | Path, onDone: Callable[[str], None], onError: Callable[[str], None] = logger.warning
    ) -> None:
        """Delete the folder of a run that does not run; a callback gets a sentence."""
        folder = Path(path)
        if self.view.path == folder:
            self.view.release()

        def done(sentence: str) -> None:
            self.runs.forget(folder, gone=True)
            onDone(sentence)

        def failed(error: Exception) -> None:
            self.runs.refresh()
            onError(sentenceOf(error))

        self.startTask(SlicedTask(TrainingRun(folder).delete(), done, failed))

    def blockedReason(self, action: str, parameterNode: Any) -> str | None:
        """Why "scan", "prepare" or "train" cannot start now, in a sentence; None where it can."""
        if parameterNode is None:
            return "The scene is closing."
        if action == "prepare" and not self.preparation.finished:
            return "A preparation is running already. Wait for it, or cancel it."
        check: Callable[[Any], str | None] = getattr(self._readiness, action)
        return check(parameterNode)

    def runBlockedReason(self, action: str, path: str | Path) -> str | None:
        """Why pause, stop, resume, extend, use, forget or delete is not possible with a run now; None where it is."""
        run = self.runs.find(path)
        if run is None:
            return "Choose a training in the list first."
        reason = None if action == "forget" else run.blockedReason(action)
        if reason is None and action in ("resume", "extend"):
            return self._packages.reason(TRAINING)
        return reason

    def refreshPackages(self) -> None:
        """Packages were installed: look again what there is."""
        self._packages.lookAgain()

    def tickers(self) -> list[Any]:
        """See Background."""
        return [*super().tickers(), self.scan, self.preparation, self.runs, self.view]

    def endWork(self, keepJobs: bool) -> None:
        """See Background. Trainings are left alone: they go on."""
        self.estimate.cancel()
        self.scan.cancel()
        self.view.release()

    def closeScene(self) -> None:
        """Load nothing more into a scene that goes. Preparation and trainings go on."""
        self.view.sceneClosed()

    def _require(self, action: str, parameterNode: Any) -> None:
        reason = self.blockedReason(action, parameterNode)
        if reason is not None:
            raise InputError(reason)
