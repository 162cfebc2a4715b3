"""Everything of the module that is not a widget: what the panels order, and what goes on in the background."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError, MedDDPMError
from medddpm.jobs import spool as spools
from medddpm.jobs.events import State
from MedDDPMSlicerLib.Background import Background
from MedDDPMSlicerLib.Dependencies import PackageWatch, Use, missingPackages
from MedDDPMSlicerLib.Jobs import Estimate, ask, monitorOf, nothingAsked, readEstimate
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.Storage import Settings, defaultSettings
from MedDDPMSlicerLib.Texts import _

from .AutoUpdate import AutoUpdate, previewOptions
from .Batch import BatchCase, BatchRun, newBatch
from .BatchItems import BatchItem, BatchTable
from .MaskCheck import LiveCheck
from .MaskJobs import MaskJob, anatomyJob, outlineJob
from .Options import SynthInputs, SynthOptions, anatomyInputsOf, batchSource, inputsOf, nextSeed, optionsOf, withWidget
from .Readiness import Readiness
from .Recovery import RecoverableJob, Recovery, optionsOfJob
from .Request import estimateRequest
from .Results import isSaved
from .Run import SynthRun

# Generations that have ended and are still known, for those who look at them.
MAX_FINISHED = 5
# The scene tells nobody that it was saved, so its volumes are asked every few seconds.
SAVED_SECONDS = 2.0


class SynthService(Background):
    """Owns storage, workers and whatever runs; ``poll`` lets it go on, which a timer calls.

    ``jobs`` and ``toolsJobs`` are the JobMonitors of the two workers, ``library`` the models, ``runs`` the generations
    that go on and the last ones that ended, ``run`` the last one that the user started, ``batch`` the last batch and
    ``batchTable`` what the next one would take,
    ``check`` the mask check, ``maskJob`` the last job that wrote into the mask (outline, anatomy), ``estimate`` the
    newest one, ``autoUpdate`` the automatic update, ``recovery`` what earlier sessions left. ``python``: the
    interpreter of the workers, None for Slicer's own; ``missing`` tells which packages are not installed. All methods
    return at once; errors of what goes on in the background are told by its objects, only impossible orders raise
    MedDDPMError. A ``parameterNode`` is a ``MedDDPMSynthParameterNode``.
    """

    def __init__(
        self,
        storage: Any,
        python: Sequence[str] | None = None,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
        missing: Callable[[Use], Sequence[Any]] = missingPackages,
    ) -> None:
        self.jobs = monitorOf(storage.synthesisSpool, python, storage.exchange)
        self.toolsJobs = monitorOf(storage.toolsSpool, python, storage.exchange)
        super().__init__(storage, (self.jobs, self.toolsJobs), slicer.mrmlScene.StartCloseEvent)
        self.library = ModelLibrary(storage.models, settings or defaultSettings(), self.toolsJobs)
        self.runs: list[SynthRun] = []
        self.run: SynthRun | None = None
        self.batch: BatchRun | None = None
        self.batchTable = BatchTable(self.toolsJobs)
        self.check = LiveCheck(storage, self.toolsJobs, self.library, clock)
        self.autoUpdate = AutoUpdate(partial(self.generate, automatic=True), self.activeRun, self.jobs, clock)
        self.recovery = Recovery(self.jobs, self.library, self._continue)
        self.estimate = nothingAsked(self.toolsJobs)
        self.packages = PackageWatch(missing)
        self._readiness = Readiness(self.library, self.packages)
        self.maskJob: MaskJob | None = None
        self._clock, self._looked = clock, clock()

    def generate(self, inputs: SynthInputs, options: SynthOptions, automatic: bool = False) -> SynthRun:
        """Start a generation. What is wrong with mask or model, the run tells."""
        return self._add(SynthRun(inputs, options, self.library, self.storage, self.jobs, automatic))

    def start(self, parameterNode: Any, frames: int = 1) -> SynthRun:
        """Start what the parameter node asks for, and put the next seed into it where it is not locked.

        ``frames`` above 1: a growth series of so many time points. Raises InputError where ``blockedReason``, or for a
        series ``seriesBlockedReason``, has one.
        """
        series = self.seriesBlockedReason(parameterNode) if frames > 1 else None
        _require(self.blockedReason(parameterNode) or series)
        options = optionsOf(parameterNode, self.library.describe(parameterNode.model))
        if frames > 1:
            options = replace(options, samples=1, frames=frames)
        run = self.generate(inputsOf(parameterNode, options), options)
        self.library.lastUsed = parameterNode.model
        parameterNode.seed = nextSeed(parameterNode.seed, options.samples * options.best_of, parameterNode.lockSeed)
        return run

    def activeRun(self, segmentationNode: Any, automatic: bool = False) -> SynthRun | None:
        """The generation of a segmentation that the user (or the automatic update) started and that has not ended."""
        active = (run for run in self.runs if not run.finished and run.automatic == automatic)
        return next((run for run in active if run.inputs.segmentation is segmentationNode), None)

    def runBatch(self, source: Any, output: Path, options: SynthOptions, inputs: SynthInputs | None = None) -> BatchRun:
        """Start a batch of a folder of masks (Path), a sequence node or a list of BatchItem; results go to ``output``.

        ``inputs``: a reference scan or a segmentation that gives the anatomy, for all masks. Raises InputError where
        there is no mask, or the folder cannot be written.
        """
        if self.batch is not None and not self.batch.finished:
            raise InputError(_("A batch is running already. Wait for it, or cancel it."))
        inputs = inputs or SynthInputs(None)
        self.batch = newBatch(source, output, inputs, options, self.library, self.storage, self.jobs)
        self.startTimer()
        return self.batch

    def startBatch(self, parameterNode: Any) -> BatchRun:
        """Start the batch of the parameter node. Raises InputError where ``batchBlockedReason`` has one."""
        _require(self.batchBlockedReason(parameterNode))
        node = parameterNode
        options = optionsOf(node, self.library.describe(node.model))
        source = batchSource(node)
        source = self.batchTable.used if self.batchTable.listed.items and self.batchTable.source == source else source
        return self.runBatch(source, Path(node.batchOutput), options, anatomyInputsOf(node, options))

    def requestEstimate(
        self,
        parameterNode: Any,
        onDone: Callable[[Estimate], None],
        onError: Callable[[str], None] | None = None,
    ) -> None:
        """Ask how long the parameter node's generation takes and whether it fits; newer questions replace older."""
        reason = self._readiness.computing(parameterNode.model)
        if reason is None:
            model = self.library.describe(parameterNode.model)
            request = estimateRequest(optionsOf(parameterNode, model), model)
            self.estimate = ask(self.estimate, "estimate", request, _estimateOf, onDone, onError)
            self.startTimer()
        elif onError is not None:
            onError(reason)

    def outline(self, parameterNode: Any, *callbacks: Any) -> MaskJob:
        """Make the head or brain segment from the reference volume; see ``outlineJob`` also for ``callbacks``.

        Raises InputError where segmentation or reference volume are missing.
        """
        node = parameterNode
        order = (node.segmentation, node.referenceVolume, self.library.describe(node.model))
        _require(self._maskJobReason())
        self.maskJob = outlineJob(*order, self.storage, self.toolsJobs, *callbacks)
        self.startTimer()
        return self.maskJob

    def completeAnatomy(self, parameterNode: Any, *callbacks: Any) -> MaskJob:
        """Complete the anatomy of the mask as the next generation would; see ``anatomyJob`` also for ``callbacks``.

        Raises InputError where that cannot be.
        """
        _require(self.anatomyBlockedReason(parameterNode))
        model = self.library.describe(parameterNode.model)
        options = optionsOf(parameterNode, model)
        inputs = inputsOf(parameterNode, options)
        self.maskJob = anatomyJob(inputs, options, model, self.storage, self.jobs, *callbacks)
        self.startTimer()
        return self.maskJob

    def anatomyBlockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why the anatomy cannot be completed now; None where it can."""
        if parameterNode is None:
            return _("The scene is closing.")
        return self._maskJobReason() or self._readiness.anatomy(parameterNode)

    def _maskJobReason(self) -> str | None:
        if self.maskJob is None or self.maskJob.finished:
            return None
        return _("{doing}. Wait for it, or cancel it.").format(doing=self.maskJob.doing)

    def seriesBlockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why no growth series can start where a generation can; None where it can, too."""
        if parameterNode.editRealScan:
            return _("A growth series has whole images. Uncheck 'Generate only the changed region' first (Real scan).")
        return None

    def blockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why no generation can start now; None where it can."""
        if parameterNode is None:
            return _("The scene is closing.")
        if self.activeRun(parameterNode.segmentation) is not None:
            return _("A generation of this segmentation is running. Wait for it, or cancel it.")
        if (reason := self._maskJobReason()) is not None:
            return reason
        return self._readiness.generation(parameterNode) or self.check.refusal(parameterNode.segmentation)

    def batchBlockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why no batch can start now; None where it can."""
        if parameterNode is None:
            return _("The scene is closing.")
        if self.batch is not None and not self.batch.finished:
            return _("A batch is running already. Wait for it, or cancel it.")
        return self._readiness.batch(parameterNode) or self.batchTable.blockedReason()

    def watchForUpdates(self, parameterNode: Any) -> None:
        """Follow the parameter node's choice of the automatic update; None ends it."""
        if parameterNode is None or not parameterNode.autoUpdate or parameterNode.segmentation is None:
            self.autoUpdate.observe(None)
            return

        def order() -> tuple[SynthInputs, SynthOptions] | None:
            if self._readiness.generation(parameterNode) is not None:
                return None
            model = self.library.describe(parameterNode.model)
            options = previewOptions(optionsOf(parameterNode, model), model)
            return inputsOf(parameterNode, options), options

        self.autoUpdate.observe(parameterNode.segmentation, order)
        self.startTimer()

    def tickers(self) -> list[Any]:
        """See Background."""
        batch = [self.batch] if self.batch is not None and not self.batch.finished else []
        watching = [watch for watch in (self.check, self.autoUpdate) if watch.active]
        return [*super().tickers(), *batch, *watching]

    def poll(self) -> None:
        """Let everything go on for some milliseconds; a timer calls this 20 times a second."""
        super().poll()
        if self._clock() - self._looked >= SAVED_SECONDS:
            self._looked = self._clock()
            saved = (run for run in self._inScene() if all(isSaved(volume) for volume in run.volumes))
            with contextlib.suppress(StopIteration, MedDDPMError):
                next(saved).discard()

    def closeScene(self) -> None:
        """The scene is about to go: end all that works for it. Calling it again does no harm."""
        self.autoUpdate.observe(None)
        self.check.stop()
        self.cancelTasks()
        if self.batch is not None:
            self.batch.cancel()
        self.batchTable.look(None)
        for job in (*self.jobs.active, *self.toolsJobs.active):
            if not job.outlivesScene:
                job.cancel()
        self._dropFolders()

    def endWork(self, keepJobs: bool) -> None:
        """See Background."""
        if not keepJobs:
            self.closeScene()
        self._dropFolders()

    def _inScene(self) -> list[SynthRun]:
        """Runs whose job is kept for the case that Slicer crashes before their volumes are saved."""
        return [run for run in self.jobs.followed if isinstance(run, SynthRun) and run.state is State.DONE]

    def _dropFolders(self) -> None:
        for run in self._inScene():
            with contextlib.suppress(MedDDPMError):  # a file is open in another program; it goes with the storage
                run.discard()

    def _add(self, run: SynthRun) -> SynthRun:
        """A new generation. Where the user started it, an automatic one of the same segmentation makes way."""
        finished = [known for known in self.runs if known.finished]
        self.runs = [known for known in self.runs if known not in finished[:-MAX_FINISHED]]
        if not run.automatic:
            self.run = run
            former = self.activeRun(run.inputs.segmentation, automatic=True)
            if former is not None:
                former.cancel()
        self.runs.append(run)
        self.startTimer()
        return run

    def _continue(self, job: RecoverableJob, inputs: SynthInputs) -> SynthRun | BatchRun:
        """Bring a job of an earlier session to its end."""
        options, folder = optionsOfJob(job), job.job.folder
        assert folder is not None
        folder = folder if job.finished else spools.requeue(folder)
        if job.record.output:
            output = Path(job.record.output)
            row = BatchCase(BatchItem(job.record.caseName, None), output, self.jobs)
            row.attach(folder)
            self.batch = BatchRun([row], output.parent, inputs, options, None, self.storage)
            self.startTimer()
            return self.batch
        return self._add(SynthRun(inputs, options, self.library, self.storage, self.jobs, folder=folder))


def _estimateOf(outputs: Path) -> Estimate:
    found = readEstimate(outputs)
    return found if found.fits else replace(found, sentence=withWidget(found.sentence, "ignore_memory"))


def _require(reason: str | None) -> None:
    if reason is not None:
        raise InputError(reason)
