"""One case of a batch: its mask, its job, and the delivery of its files."""

from __future__ import annotations

import contextlib
import enum
import logging
import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.files import atomic_path
from MedDDPMSlicerLib.Background import SLICE_SECONDS, SlicedTask
from MedDDPMSlicerLib.Jobs import JobState
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.PlainSentences import plainSentence, sentenceOf, wordsFor, wordsOf
from MedDDPMSlicerLib.SegmentMasks import composeLabels
from MedDDPMSlicerLib.VolumeNodes import saveVolume, volumeOf

from .Options import SynthInputs, SynthOptions, withWidget
from .Provenance import NAME as PROVENANCE
from .Request import RequestFiles, exportReference, ownLabels, requestOf
from .SceneRecord import SceneRecord

logger = logging.getLogger(__name__)


class CaseState(enum.Enum):
    """Where a case is. The last three end it."""

    WAITING = "waiting"
    PREPARING = "preparing"
    QUEUED = "queued"
    RUNNING = "running"
    DELIVERING = "writing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDS = (CaseState.DONE, CaseState.FAILED, CaseState.CANCELLED)


class BatchCase:
    """A row of the batch's table: ``name``, ``state`` and ``message`` (a sentence where there is something to say).

    ``source`` is a mask file, or the node of a sequence (segmentation or label map); ``place`` the file's whole path,
    or the node's name. ``progress`` is 0 to 1.
    """

    def __init__(self, name: str, source: Any, output: Path) -> None:
        self.name, self.output = name, output
        self.state = CaseState.WAITING
        self.message = ""
        self.handle: Any = None
        self._source = source
        self._task: Any = None
        self._details = ""
        self._cancelled = False
        self._words: dict[str, str] = {}

    @property
    def place(self) -> str:
        """See the class; the name of the case where the mask is not known any more."""
        if isinstance(self._source, Path):
            return str(self._source)
        return self._source.GetName() if self._source is not None else self.name

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in ENDS

    @property
    def active(self) -> bool:
        """Whether it was begun and has not ended."""
        return not self.finished and self.state is not CaseState.WAITING

    @property
    def progress(self) -> float:
        """Share that is done."""
        if self.finished:
            return 1.0
        known = self.handle is not None and self.handle.step is not None and self.handle.total
        return self.handle.step / self.handle.total if known else 0.0

    def details(self) -> str:
        """Technical detail: the logs of job and worker."""
        return self._details or (self.handle.details() if self.handle is not None else "")

    def begin(
        self, inputs: SynthInputs, options: SynthOptions, model: ModelDescription, storage: Any, jobs: Any
    ) -> None:
        """Prepare the mask, a little with each ``tick``, and submit the job. ``inputs``: what gives the anatomy."""
        self.state = CaseState.PREPARING

        def submit(request: dict[str, Any]) -> None:
            record = SceneRecord(self.name, model=options.model, output=str(self.output))
            try:
                handle = jobs.submit(request)
                record.write(handle.folder)
            except MedDDPMError as exc:
                self._fail(exc)
                return
            self.attach(handle)

        self._task = SlicedTask(self._prepare(inputs, options, model, storage), submit, self._fail)

    def attach(self, handle: Any) -> None:
        """Follow a job and deliver its files."""
        self.handle = handle
        with contextlib.suppress(MedDDPMError):  # the folder has gone: its job tells so
            self._words = wordsOf(handle.request())
        self.state = CaseState.QUEUED
        handle.observers.append(self._onJob)
        self._onJob(handle)

    def cancel(self) -> None:
        """End it; files that were delivered already stay."""
        if self.finished or self._cancelled:
            return
        self._cancelled = True
        if self._task is not None and not self._task.finished:
            self._task.cancel()
        if self.handle is None or self.handle.finished:
            self._end(CaseState.CANCELLED, "")
            return
        try:
            self.handle.cancel()
        except MedDDPMError as exc:
            self.message = sentenceOf(exc)
        self._onJob(self.handle)

    def tick(self) -> None:
        """Work for some milliseconds."""
        if self._task is not None and not self._task.finished:
            self._task.step(SLICE_SECONDS)

    def _prepare(
        self, inputs: SynthInputs, options: SynthOptions, model: ModelDescription, storage: Any
    ) -> Generator[None, None, dict[str, Any]]:
        labels = None
        if isinstance(self._source, Path):
            mask = self._source
        else:
            mask = _newFile(storage.exchange, self.name)
            volume, labels = _maskOf(self._source, model)
            yield
            saveVolume(volume, mask)
        yield
        files = RequestFiles(mask)
        yield from exportReference(inputs, model, storage, files, None)
        return {**requestOf(options, model, files), "labels": labels, "compress": True}

    def _onJob(self, job: Any) -> None:
        if self.finished or self.state is CaseState.DELIVERING:
            return
        if not job.finished:
            self.state = CaseState.QUEUED if job.state is JobState.WAITING else CaseState.RUNNING
        elif self._cancelled or job.state is JobState.CANCELLED:
            self._end(CaseState.CANCELLED, "")
        elif job.state is JobState.DONE:
            self.state = CaseState.DELIVERING
            self._task = SlicedTask(deliver(job.folder.outputs, self.output), self._onDelivered, self._fail)
        else:
            self._words |= wordsFor(job.problemPath)
            self._end(CaseState.FAILED, withWidget(job.message or "The case failed.", job.option))

    def _onDelivered(self, _count: int) -> None:
        said = " ".join(dict.fromkeys(self.handle.warnings))
        self._end(CaseState.DONE, said)

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, MedDDPMError):
            logger.error("a case of a batch failed", exc_info=error)
        self._end(CaseState.FAILED, sentenceOf(error))

    def _end(self, state: CaseState, message: str) -> None:
        if self.handle is not None and self.handle.finished:
            self._details = self.handle.details()
            try:
                self.handle.discard()
            except MedDDPMError as exc:
                logger.warning("a job folder stays: %s", type(exc.__cause__).__name__)
        self.state, self.message = state, plainSentence(message, self._words)


def deliver(outputs: Path, target: Path) -> Generator[None, None, int]:
    """Steps that move the files of a job's only case to ``target``, the record last; they return how many.

    Raises InputError where a file cannot be written. A file of the same name is replaced.
    """
    folders = [path for path in outputs.iterdir() if path.is_dir() and not path.is_symlink()]
    if len(folders) != 1:
        raise InputError("The job produced no results. Run the case again.")
    files = sorted(path for path in folders[0].rglob("*") if path.is_file() and not path.is_symlink())
    files.sort(key=lambda path: path.name == PROVENANCE)
    for path in files:
        _move(path, target / path.relative_to(folders[0]))
        yield
    return len(files)


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)  # at once, on the same disk
    except OSError:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _maskOf(node: Any, model: ModelDescription) -> tuple[Any, str | None]:
    """The mask of a node as a Volume, and what its values mean (None: to be recognized)."""
    if node.IsA("vtkMRMLSegmentationNode"):
        return composeLabels(node, model.config.scheme), ownLabels(model)
    if node.IsA("vtkMRMLScalarVolumeNode"):
        return volumeOf(node), None
    raise InputError("This item of the sequence is neither a segmentation nor a label map.")


def _newFile(folder: Path, name: str) -> Path:
    """A free path for the mask called ``name``; results are named after it."""
    safe = re.sub(r"[^\w.+-]+", "_", name).strip("._") or "case"
    path, number = folder / f"{safe}.nrrd", 1
    while path.exists():
        number += 1
        path = folder / f"{safe}-{number}.nrrd"
    return path
