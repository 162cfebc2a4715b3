"""One generation: from a segmentation in the scene to volumes in the scene, a little at a time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from typing import Any

from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Background import SLICE_SECONDS, SlicedTask
from MedDDPMSlicerLib.Display import NodeList
from MedDDPMSlicerLib.Jobs import JobState
from MedDDPMSlicerLib.Models import ModelDescription, ModelLibrary
from MedDDPMSlicerLib.PlainSentences import plainSentence, sentenceOf, wordsFor, wordsOf
from MedDDPMSlicerLib.Views import showInSlices, shownModality

from .Growth import importSeries
from .Import import ImportPlan, importResults, undoImport
from .Options import SynthInputs, SynthOptions, withWidget
from .Preview import PreviewFollower
from .Request import RequestFiles, checkOptions, exportFiles, requestOf
from .Results import caseItem, modalityOf
from .RunReport import RunReport
from .SceneRecord import SceneRecord
from .State import Outcome, SynthState

logger = logging.getLogger(__name__)


class SynthRun(RunReport):
    """One generation; ``SynthService`` makes it and calls ``tick``.

    It goes PREPARING (compose the mask, write files) - SAMPLING (the job) - IMPORTING - IDLE, over CANCELLING after a
    cancel, or ends in FAILED. A run that does not end well leaves no node, file or job. ``handle``: a job of an earlier
    session to go on with; otherwise one is submitted.
    """

    def __init__(
        self,
        inputs: SynthInputs,
        options: SynthOptions,
        library: ModelLibrary,
        storage: Any,
        jobs: Any,
        automatic: bool = False,
        handle: Any = None,
    ) -> None:
        super().__init__(inputs, options, automatic)
        self._storage, self._jobs = storage, jobs
        self._files: RequestFiles | None = None
        self._plan: ImportPlan | None = None
        self._model: ModelDescription | None = None
        self._cancelSentence = "The generation was cancelled."
        steps = self._prepare(library) if handle is None else self._takeOver(library, handle)
        self._task: Any = self._newTask(steps, self._submit)

    def cancel(self) -> None:
        """End it within one sampling step; what it made so far is removed."""
        if self.finished or self._state is SynthState.CANCELLING:
            return
        self._dropTask()
        if self.handle is None or self.handle.finished:
            self._end(Outcome.CANCELLED, self._cancelSentence)
            return
        self._enter(SynthState.CANCELLING)
        try:
            self.handle.cancel()
        except MedDDPMError as exc:
            self.message = sentenceOf(exc)
        self._followJob()

    # How it goes on; the service calls this

    def tick(self) -> None:
        """Work for some milliseconds and tell the observers of changes."""
        if self.finished:
            self.notify()
            return
        if not self._inScene():
            self._loseScene()
        if self._task is not None and not self._task.finished:
            self._task.step(SLICE_SECONDS)
        elif self._preview is not None:
            self._preview.tick(SLICE_SECONDS)
        self.notify()

    def _prepare(self, library: ModelLibrary) -> Generator[None, None, RequestFiles]:
        self._model = library.describe(self.options.model)
        checkOptions(self.options, self._model)
        yield
        return (yield from exportFiles(self.inputs, self.options, self._model, self._storage))

    def _takeOver(self, library: ModelLibrary, handle: Any) -> Generator[None, None, None]:
        """Go on with a job that is there already."""
        self._model = library.describe(self.options.model)
        yield
        self._attach(handle)
        self._followJob()

    def _submit(self, files: RequestFiles | None) -> None:
        if files is None:
            return
        self._files = files
        assert self._model is not None
        try:
            kind = "growth" if self.options.frames > 1 else "synthesis"
            self._attach(self._jobs.submit(requestOf(self.options, self._model, files), kind=kind))
            self._sceneRecord().write(self.handle.folder)
        except MedDDPMError as exc:
            self._fail(exc)

    def _sceneRecord(self) -> SceneRecord:
        segmentation = self.inputs.segmentation
        local = self.inputs.isLocalEdit
        return SceneRecord(self.caseName, segmentation.GetID(), self.options.model, self.automatic, local)

    def _attach(self, handle: Any) -> None:
        self.handle = handle
        handle.observers.append(self._onJob)
        with contextlib.suppress(MedDDPMError):  # the folder has gone: its job tells so
            self._words = wordsOf(handle.request())
        if self.options.showPreview and self._model is not None:
            wanted = self.options.modalities or self._model.modalities
            shown = shownModality(self.inputs.segmentation)
            self._preview = PreviewFollower(self.inputs.segmentation, shown if shown in wanted else wanted[0])
        self._enter(SynthState.SAMPLING)

    def _onJob(self, _handle: Any) -> None:
        self.changed()
        if self._state is SynthState.SAMPLING and self._preview is not None:
            self._preview.follow(self.handle.preview)
        self._followJob()
        self.notify()

    def _followJob(self) -> None:
        if not self.handle.finished or self.finished:
            return
        if self._state is SynthState.CANCELLING or self.handle.state is JobState.CANCELLED:
            self._end(Outcome.CANCELLED, self._cancelSentence)
        elif self.handle.state is JobState.DONE:
            self._beginImport()
        else:
            self._words |= wordsFor(self.handle.problemPath)
            self._end(Outcome.FAILED, withWidget(self.handle.message or "The generation failed.", self.handle.option))

    def _beginImport(self) -> None:
        if self._state is not SynthState.SAMPLING:
            return
        assert self._model is not None
        folder = self.handle.folder
        known = dict(self.inputs.knownVolumes)
        self._plan = ImportPlan(
            self.inputs.segmentation,
            self._model,
            folder.outputs,
            folder.path.name,
            self.caseName,
            self.automatic,
            windowOf=known,
        )
        steps = importSeries(self._plan) if self.options.frames > 1 else importResults(self._plan)
        self._task = self._newTask(steps, self._onImported)
        self._enter(SynthState.IMPORTING)

    def _onImported(self, volumes: list[Any]) -> None:
        self._warnings = list(self.handle.warnings)
        self._removePreview()
        self._made = NodeList(volumes)
        self.resultItem = caseItem(self.inputs.segmentation)
        if volumes:
            shown = shownModality(self.inputs.segmentation)
            showInSlices(next((v for v in volumes if modalityOf(v) == shown), volumes[0]))
        self._end(Outcome.DONE, self._readySentence())

    def _readySentence(self) -> str:
        samples = len(self._plan.items) if self._plan is not None else 0
        if self.options.frames > 1:
            return f"The series of {self.options.frames} frames is ready: play it with the toolbar Sequence browser."
        return "The images are ready." if samples == 1 else f"{samples} samples are ready."

    # Ends

    def _fail(self, error: BaseException) -> None:
        """A step of our own went wrong: a sentence for the user, the trace for the log."""
        if not isinstance(error, MedDDPMError):
            logger.error("a generation failed", exc_info=error)
        if not self._details:
            self._details = "" if self.handle is None else self.handle.details()
        self._end(Outcome.FAILED, sentenceOf(error))

    def _end(self, outcome: Outcome, message: str) -> None:
        self._dropTask()
        if outcome is not Outcome.DONE:
            self._cleanUp()
        self.outcome, self.message = outcome, plainSentence(message, self._words)
        self._plan = None  # its nodes, and those of the inputs, shall not be kept alive with all their voxels
        self.inputs = SynthInputs(self.inputs.segmentation)
        self._enter(SynthState.FAILED if outcome is Outcome.FAILED else SynthState.IDLE)

    def _cleanUp(self) -> None:
        """Leave nothing behind: no node, no file, no job."""
        self._removePreview()
        if self._plan is not None:
            undoImport(self._plan)
        if self.handle is None:
            if self._files is not None:
                self._files.remove()
            return
        self._details = self.handle.details()
        self._warnings = list(self.handle.warnings)
        try:
            self.handle.discard()
        except MedDDPMError as exc:
            logger.warning("a job folder stays: %s", type(exc.__cause__).__name__)

    def _loseScene(self) -> None:
        """The segmentation was removed or its scene closed: there is nothing to bring results into."""
        if self._state is not SynthState.CANCELLING:
            self._cancelSentence = "The segmentation was removed, so its generation was cancelled."
            self.cancel()

    def _inScene(self) -> bool:
        return self.inputs.segmentation.GetScene() is not None

    # Small things

    def _newTask(self, steps: Any, onDone: Callable[[Any], None]) -> Any:
        return SlicedTask(steps, onDone, self._fail)

    def _dropTask(self) -> None:
        """End what is going on here; its steps remove their files."""
        if self._task is not None and not self._task.finished:
            self._task.cancel()
        self._task = None

    def _removePreview(self) -> None:
        if self._preview is not None:
            self._preview.remove()
        self._preview = None

    def _enter(self, state: SynthState) -> None:
        self._state = state
        self.changed()
