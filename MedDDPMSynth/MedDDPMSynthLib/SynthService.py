"""What the panels order: the engine, told by the parameter node. One lives as long as the application."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from MedDDPMSlicerLib.Dependencies import Use, missingPackages
from MedDDPMSlicerLib.PackageWatch import PackageWatch
from MedDDPMSlicerLib.Settings import Settings

from . import Choices
from .Anatomy import AnatomyJob
from .AutoUpdate import previewOptions
from .Batch import BatchRun
from .Engine import Engine
from .Estimates import Estimate
from .Options import SynthInputs, SynthOptions, nextSeed
from .Outlines import OutlineJob
from .Readiness import Readiness
from .Run import SynthRun


class SynthService(Engine):
    """The engine with orders that take a ``MedDDPMSynthParameterNode``.

    ``missing`` tells which packages are not installed; the rest is as for the engine.
    """

    def __init__(
        self,
        storage: Any,
        python: Sequence[str] | None = None,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
        missing: Callable[[Use], Sequence[Any]] = missingPackages,
    ) -> None:
        super().__init__(storage, python, settings, clock)
        self._packages = PackageWatch(missing)
        self._readiness = Readiness(self.library, self._packages)
        self._anatomy: AnatomyJob | None = None

    def start(self, parameterNode: Any, frames: int = 1) -> SynthRun:
        """Start what the parameter node asks for, and put the next seed into it where it is not locked.

        ``frames`` above 1: a growth series of so many time points. Raises InputError where ``blockedReason``, or for a
        series ``seriesBlockedReason``, has one.
        """
        reason = self.blockedReason(parameterNode)
        if reason is None and frames > 1:
            reason = self.seriesBlockedReason(parameterNode)
        if reason is not None:
            raise InputError(reason)
        options = Choices.optionsOf(parameterNode, self.library.describe(parameterNode.model))
        if frames > 1:
            options = replace(options, samples=1, frames=frames)
        run = self.generate(Choices.inputsOf(parameterNode, options), options)
        self.library.lastUsed = parameterNode.model
        parameterNode.seed = nextSeed(parameterNode.seed, options.samples, parameterNode.lockSeed)
        return run

    def startBatch(self, parameterNode: Any) -> BatchRun:
        """Start the batch of the parameter node. Raises InputError where ``batchBlockedReason`` has one."""
        reason = self.batchBlockedReason(parameterNode)
        if reason is not None:
            raise InputError(reason)
        node = parameterNode
        source = node.batchSequence if node.batchSequence is not None else Path(node.batchSource)
        options = Choices.optionsOf(node, self.library.describe(node.model))
        return self.runBatch(source, Path(node.batchOutput), options, Choices.anatomyInputsOf(node, options))

    def requestEstimate(
        self,
        parameterNode: Any,
        onDone: Callable[[Estimate], None],
        onError: Callable[[str], None] | None = None,
    ) -> None:
        """Ask how long the parameter node's generation takes and whether it fits; newer questions replace older."""
        reason = self._readiness.computing(parameterNode.model)
        if reason is not None:
            if onError is not None:
                onError(reason)
            return
        model = self.library.describe(parameterNode.model)
        self._estimator.ask(Choices.optionsOf(parameterNode, model), model, onDone, onError)
        self.startTimer()

    def outline(
        self,
        parameterNode: Any,
        onDone: Callable[[], None] | None = None,
        onError: Callable[[str], None] | None = None,
        saveUndo: Callable[[], None] | None = None,
    ) -> OutlineJob:
        """Make the head or brain segment from the reference volume; ``saveUndo`` is called before segments change.

        Raises InputError where segmentation or reference volume are missing.
        """
        node = parameterNode
        model = self.library.describe(node.model)
        order = (node.segmentation, node.referenceVolume, model, self.storage, self.toolsJobs)
        job = OutlineJob(*order, onDone, onError, saveUndo)
        self.startTask(job)
        return job

    def completeAnatomy(
        self,
        parameterNode: Any,
        onDone: Callable[[dict[str, Any]], None],
        onError: Callable[[str], None],
        saveUndo: Callable[[], None] | None = None,
    ) -> AnatomyJob:
        """Complete the anatomy of the mask as the next generation would, in segments of its own; see ``AnatomyJob``.

        Raises InputError where that cannot be.
        """
        reason = self.anatomyBlockedReason(parameterNode)
        if reason is not None:
            raise InputError(reason)
        model = self.library.describe(parameterNode.model)
        options = Choices.optionsOf(parameterNode, model)
        inputs = Choices.inputsOf(parameterNode, options)
        self._anatomy = AnatomyJob(inputs, options, model, self.storage, self.jobs, onDone, onError, saveUndo)
        self.startTask(self._anatomy)
        return self._anatomy

    def anatomyBlockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why the anatomy cannot be completed now; None where it can."""
        if parameterNode is None:
            return "The scene is closing."
        if self._anatomy is not None and not self._anatomy.finished:
            return "The anatomy is being completed. One moment."
        return self._readiness.anatomy(parameterNode)

    def seriesBlockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why no growth series can start where a generation can; None where it can, too."""
        if parameterNode.editRealScan:
            return "A growth series has whole images. Uncheck 'Generate only the changed region' first (Real scan)."
        return None

    def blockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why no generation can start now; None where it can."""
        if parameterNode is None:
            return "The scene is closing."
        if self.activeRun(parameterNode.segmentation) is not None:
            return "A generation of this segmentation is running. Wait for it, or cancel it."
        return self._readiness.generation(parameterNode)

    def batchBlockedReason(self, parameterNode: Any) -> str | None:
        """A sentence that says why no batch can start now; None where it can."""
        if parameterNode is None:
            return "The scene is closing."
        if self.batch is not None and not self.batch.finished:
            return "A batch is running already. Wait for it, or cancel it."
        return self._readiness.batch(parameterNode)

    def refreshPackages(self) -> None:
        """Packages were installed: look again what there is."""
        self._packages.lookAgain()

    def watchForUpdates(self, parameterNode: Any) -> None:
        """Follow the parameter node's choice of the automatic update; None ends it."""
        wanted = parameterNode is not None and parameterNode.autoUpdate and parameterNode.segmentation is not None
        if not wanted:
            self.autoUpdate.observe(None)
            return

        def ask() -> tuple[SynthInputs, SynthOptions] | None:
            if self._readiness.generation(parameterNode) is not None:
                return None
            model = self.library.describe(parameterNode.model)
            options = previewOptions(Choices.optionsOf(parameterNode, model), model)
            return Choices.inputsOf(parameterNode, options), options

        self.autoUpdate.observe(parameterNode.segmentation, ask)
        self.startTimer()
