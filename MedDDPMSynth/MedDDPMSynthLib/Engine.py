"""Everything that goes on in the background of a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError
from MedDDPMSlicerLib.Background import Background
from MedDDPMSlicerLib.Jobs import monitorOf
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.Settings import Settings, defaultSettings

from .AutoUpdate import AutoUpdate
from .Batch import BatchRun, newBatch
from .BatchCase import BatchCase
from .Estimates import Estimator
from .MaskCheck import LiveCheck
from .Options import SynthInputs, SynthOptions
from .Recovery import RecoverableJob, Recovery, optionsOfJob
from .Retention import Retention
from .Run import SynthRun
from .RunList import RunList


class Engine(Background):
    """Owns storage, workers and whatever runs: ``poll`` lets it go on, which a timer calls.

    ``jobs`` and ``toolsJobs`` are the JobMonitors of the two workers, ``library`` the models, ``runs`` all generations
    and ``run`` the last one that the user started, ``batch`` the last batch, ``check`` the mask check, ``autoUpdate``
    the automatic update, ``recovery`` what earlier sessions left. ``python``: the interpreter of the workers, None for
    Slicer's own. All methods return at once; errors of what goes on in the background are told by its objects, only
    impossible orders raise MedDDPMError.
    """

    def __init__(
        self,
        storage: Any,
        python: Sequence[str] | None = None,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs = monitorOf(storage.synthesisSpool, python, storage.exchange)
        self.toolsJobs = monitorOf(storage.toolsSpool, python, storage.exchange)
        super().__init__(storage, (self.jobs, self.toolsJobs), slicer.mrmlScene.StartCloseEvent)
        self.library = ModelLibrary(storage.models, settings or defaultSettings(), self.toolsJobs)
        self.runs = RunList()
        self.run: SynthRun | None = None
        self.batch: BatchRun | None = None
        self.check = LiveCheck(storage, self.toolsJobs, self.library, clock)
        self.autoUpdate = AutoUpdate(self._startAutomatic, self.activeRun, self.jobs, clock)
        self.recovery = Recovery(self.jobs, self.library, self._isOwn, self._continue)
        self._retention = Retention(self.jobs, clock)
        self._estimator = Estimator(self.toolsJobs, storage.exchange / "none.nrrd")

    def generate(self, inputs: SynthInputs, options: SynthOptions, automatic: bool = False) -> SynthRun:
        """Start a generation. What is wrong with mask or model, the run tells."""
        run = SynthRun(inputs, options, self.library, self.storage, self.jobs, automatic)
        self.runs.add(run)
        if not automatic:
            self.run = run
        self.startTimer()
        return run

    def runBatch(self, source: Any, output: Path, options: SynthOptions, inputs: SynthInputs | None = None) -> BatchRun:
        """Start a batch of a folder of masks (Path) or a sequence node, with results in the folder ``output``.

        ``inputs``: a reference scan or a segmentation that gives the anatomy, for all masks. Raises InputError where
        there is no mask, or the folder cannot be written.
        """
        if self.batch is not None and not self.batch.finished:
            raise InputError("A batch is running already. Wait for it, or cancel it.")
        inputs = inputs or SynthInputs(None)
        self.batch = newBatch(source, output, inputs, options, self.library, self.storage, self.jobs)
        self.startTimer()
        return self.batch

    def activeRun(self, segmentationNode: Any) -> SynthRun | None:
        """The generation of a segmentation that the user started and that has not ended."""
        return next(iter(self.runs.activeOf(segmentationNode)), None)

    def poll(self) -> None:
        """Let everything go on for some milliseconds; a timer calls this 20 times a second."""
        for run in self.runs:
            self._retention.watch(run)
        super().poll()

    def closeScene(self) -> None:
        """The scene is about to go: end all that works for it. Calling it again does no harm."""
        self.autoUpdate.observe(None)
        self.check.stop()
        self._estimator.cancel()
        self.cancelTasks()
        for run in [*self.runs, *([self.batch] if self.batch is not None else [])]:
            run.cancel()
        self._retention.dropAll()

    def endWork(self, keepJobs: bool) -> None:
        """See Background."""
        if not keepJobs:
            self.closeScene()
        self._retention.dropAll()

    def tickers(self) -> list[Any]:
        """See Background."""
        batch = [self.batch] if self.batch is not None and not self.batch.finished else []
        return [*self.runs.unsettled(), *batch, *super().tickers(), self.check, self.autoUpdate, self._retention]

    def _startAutomatic(self, inputs: SynthInputs, options: SynthOptions) -> SynthRun:
        return self.generate(inputs, options, automatic=True)

    def _isOwn(self, handle: Any) -> bool:
        """Whether a job belongs to something that goes on in this session."""
        rows = self.batch.rows if self.batch is not None else []
        return any(owner.handle is handle for owner in [*self.runs, *rows])

    def _continue(self, job: RecoverableJob, inputs: SynthInputs) -> SynthRun | BatchRun:
        """Bring a job of an earlier session to its end."""
        options = optionsOfJob(job)
        handle = job.handle if job.finished else self.jobs.resume(job.handle)
        self.startTimer()
        if job.record.output:
            output = Path(job.record.output)
            row = BatchCase(job.record.caseName, None, output)
            row.attach(handle)
            self.batch = BatchRun([row], output.parent, inputs, options, None, self.storage, self.jobs)
            return self.batch
        run = SynthRun(inputs, options, self.library, self.storage, self.jobs, handle=handle)
        self.runs.add(run)
        self.run = run
        return run
