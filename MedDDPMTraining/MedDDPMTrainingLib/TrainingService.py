"""Everything of the module that is not a widget. One lives as long as the application."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError, MedDDPMError
from MedDDPMSlicerLib.Background import Background, SlicedTask
from MedDDPMSlicerLib.Dependencies import PREPARING, TRAINING, PackageWatch, Use, missingPackages
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import Estimate, ask, monitorOf, nothingAsked, readEstimate, readScan
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.Storage import Settings, defaultSettings
from MedDDPMSlicerLib.Texts import _, sentenceOf

from . import Orders
from .Orders import PREPARE, readPrepared, recovered
from .Run import TrainingRun
from .Runs import Runs
from .RunView import RunView
from .SourceTable import obstacles

logger = logging.getLogger(__name__)


class TrainingService(Background):
    """Owns storage, workers and whatever runs; ``poll`` lets it go on, which a timer calls.

    ``scan``, ``preparation`` and ``estimate`` are the newest jobs that look at a source, make a dataset, and answer
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
        self.scan = self.estimate = nothingAsked(self.toolsJobs)
        self.preparation = recovered(self.preparationJobs)
        self.runs = Runs(self.settings, storage.runs, python, clock)
        self.view = RunView(clock)
        self.packages = PackageWatch(missing)

    def scanSource(self, parameterNode: Any) -> None:
        """Look at the source folder. Raises InputError where ``blockedReason`` has one."""
        self._require("scan", parameterNode)
        node = parameterNode
        table = node.tableFile or None
        request = {"source": _whole(node.sourceFolder), "layout": node.layout or "auto", "table": table}
        self.scan = ask(self.scan, "scan", request, readScan)
        self.startTimer()

    def scanOf(self, sourceFolder: str) -> Any:
        """What the newest scan found (SourceScan), if it was one of this folder; else None."""
        return self.scan.result if sourceFolder and self.scan.request.get("source") == _whole(sourceFolder) else None

    def prepare(self, parameterNode: Any) -> Job:
        """Prepare what the parameter node says. Raises InputError where ``blockedReason`` has one, or a choice does
        not fit.
        """
        self._require("prepare", parameterNode)
        return self.startPreparation(Orders.prepareRequest(parameterNode))

    def startPreparation(self, request: dict[str, Any]) -> Job:
        """Prepare; ``request`` are the fields of ``PrepareOptions``. Raises InputError where one is going on.

        Its ``result`` will be a PrepareResult. That of the former ``preparation`` goes on where that one ended.
        """
        if not self.preparation.finished:
            raise InputError(_("A preparation is running already. Wait for it, or cancel it."))
        self.preparation = ask(self.preparation, PREPARE, request, readPrepared)
        self.startTimer()
        return self.preparation

    def train(self, parameterNode: Any) -> TrainingRun:
        """Start the training of the parameter node, detached.

        Raises InputError where ``blockedReason`` has one, or a choice does not fit.
        """
        self._require("train", parameterNode)
        config = Orders.trainConfig(parameterNode, self.library)
        folder = Orders.newRunFolder(parameterNode.runsFolder, config.name, self.storage.runs)
        return self.runs.begin(folder, config)

    def requestEstimate(
        self, parameterNode: Any, onDone: Callable[[Estimate], object], onError: Callable[[str], object]
    ) -> None:
        """Ask how long the parameter node's training takes and whether it fits; newer questions replace older."""
        try:
            self._require("train", parameterNode)
            request = Orders.trainConfig(parameterNode, self.library).to_dict()
            self.estimate = ask(self.estimate, "train_estimate", request, readEstimate, onDone, onError)
            self.startTimer()
        except InputError as exc:
            onError(sentenceOf(exc))

    def useInSynth(self, path: str | Path) -> str:
        """Put the newest model of a run into the list that MedDDPM Synth offers; returns its key there.

        It stays where it is, so that a training that goes on improves it. Raises InputError where there is none yet, or
        it is damaged.
        """
        run = self.runs.of(path)
        run.look()
        self.library.lastUsed = key = self.library.remember(run.modelFolder)
        return key

    def defaultDatasetFolder(self, sourceFolder: str | Path) -> Path:
        """Where the dataset of a source folder is written unless another folder is chosen: private to the user."""
        return self.storage.datasets / (Orders.safeName(Path(sourceFolder).name) or "dataset")

    def deleteRun(
        self, path: str | Path, onDone: Callable[[str], object], onError: Callable[[str], object] = logger.warning
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
        """Why "scan", "prepare" or "train" cannot start now, in a sentence that says what to do; None where it can."""
        if parameterNode is None:
            return _("The scene is closing.")
        if action == "train":
            return self._trainReason(parameterNode)
        return self._scanReason(parameterNode) or (self._prepareReason(parameterNode) if action == "prepare" else None)

    def runBlockedReason(self, action: str, path: str | Path) -> str | None:
        """Why pause, stop, resume, extend, use, forget or delete is not possible with a run now; None where it is."""
        run = self.runs.find(path)
        if run is None:
            return _("Choose a training in the list first.")
        reason = None if action == "forget" else run.blockedReason(action)
        if reason is None and action in ("resume", "extend") and not run.elsewhere:
            return self.packages.reason(TRAINING)
        return reason

    def tickers(self) -> list[Any]:
        """See Background."""
        return [*super().tickers(), self.runs, self.view]

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

    def _scanReason(self, node: Any) -> str | None:
        if not node.sourceFolder:
            return _("Choose the folder with your scans.")
        if not Path(node.sourceFolder).expanduser().exists():
            return _("The folder {sourceFolder} does not exist. Choose another one.").format(
                sourceFolder=node.sourceFolder
            )
        if node.layout == "table" and not node.tableFile:
            return _("Choose the table (a CSV file) that names the files of each case.")
        if node.tableFile and not Path(node.tableFile).is_file():
            return _("The table {tableFile} does not exist. Choose another one, or none.").format(
                tableFile=node.tableFile
            )
        return None if self.scan.finished else _("The folder is being scanned. Wait a moment.")

    def _prepareReason(self, node: Any) -> str | None:
        if not self.preparation.finished:
            return _("A preparation is running already. Wait for it, or cancel it.")
        found = self.scanOf(node.sourceFolder)  # without a scan the preparation itself will tell
        if found is not None and not found.cases:
            return _("No cases were found in the folder. Choose another folder or layout.")
        left = obstacles(found, list(node.leaveOut)) if found is not None else []
        if left:
            return _("{sentence} Fix it and scan again, or leave the case out.").format(sentence=left[0].sentence)
        if (reason := self.packages.reason(PREPARING)) is not None:
            return reason
        if not node.datasetFolder:
            return _("Choose a folder for the prepared dataset.")
        out, source = Path(node.datasetFolder).expanduser(), Path(node.sourceFolder).expanduser()
        if out == source or out in source.parents:
            return _("Choose a folder for the dataset that is not the folder of the scans.")
        if node.register == "template" and not node.template:
            return _("Choose the image that the scans are registered to, or another registration.")
        return None

    def _trainReason(self, node: Any) -> str | None:
        if not node.datasetFolder:
            return _("Prepare a dataset first, or choose the folder of one.")
        try:
            Orders.datasetSentence(node.datasetFolder)
            if node.startModel:
                self.library.describe(node.startModel)
        except MedDDPMError as exc:
            return sentenceOf(exc)
        return None if node.on else self.packages.reason(TRAINING)


def _whole(folder: str) -> str:
    return str(Path(folder).expanduser().absolute())
