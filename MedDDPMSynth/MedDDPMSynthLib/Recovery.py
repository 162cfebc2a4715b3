"""Jobs of an earlier session: what was interrupted can run again, what was finished can be brought into the scene."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError, MedDDPMError
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.SegmentMasks import applyLabels, createSegments
from MedDDPMSlicerLib.SyntheticNodes import syntheticVolumes

from .Options import SynthInputs, SynthOptions
from .Results import JOB
from .SceneRecord import SceneRecord, readSceneRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecoverableJob:
    """``title`` says what it is, ``created`` when it was asked for (seconds since 1970).

    ``finished``: its images are there and only have to be imported; otherwise it will be run again.
    """

    title: str
    created: float
    finished: bool
    record: SceneRecord
    handle: Any


class Recovery:
    """What earlier sessions left in the spool of ``jobs`` (a JobMonitor).

    ``isOwn`` tells whether a job handle belongs to this session; ``carryOn`` brings a job to its end.
    """

    def __init__(
        self,
        jobs: Any,
        library: ModelLibrary,
        isOwn: Callable[[Any], bool],
        carryOn: Callable[[RecoverableJob, SynthInputs], Any],
    ) -> None:
        self._jobs, self._library, self._isOwn, self._carryOn = jobs, library, isOwn, carryOn

    def found(self) -> list[RecoverableJob]:
        """The jobs that can be offered, oldest first."""
        interrupted = [(handle, False) for handle in self._jobs.unfinished()]
        finished = [(handle, True) for handle in self._jobs.done() if not self._taken(handle)]
        jobs = [job for handle, done in [*interrupted, *finished] if (job := _describe(handle, done)) is not None]
        return sorted(jobs, key=lambda job: job.created)

    def resume(self, job: RecoverableJob, segmentationNode: Any = None) -> Any:
        """Run a job again, or import its results; returns the SynthRun or BatchRun.

        ``segmentationNode``: what the results belong to; None for the node of the same name, else one made from the
        job's mask. Raises InputError where model or mask have gone.
        """
        if job.record.output:
            return self._carryOn(job, SynthInputs(None))
        self._library.describe(job.record.model)
        segmentation = segmentationNode or self._segmentationOf(job)
        return self._carryOn(job, SynthInputs(segmentation))

    def discard(self, job: RecoverableJob) -> None:
        """Delete a job with its results."""
        job.handle.discard()

    def _taken(self, handle: Any) -> bool:
        if self._isOwn(handle):
            return True
        name = handle.folder.path.name
        return any(node.GetAttribute(JOB) == name for node in syntheticVolumes(slicer.mrmlScene))

    def _segmentationOf(self, job: RecoverableJob) -> Any:
        found = slicer.mrmlScene.GetFirstNodeByName(job.record.caseName)
        if found is not None and found.IsA("vtkMRMLSegmentationNode"):
            return found
        return _segmentationFromMask(job, self._library)


def optionsOfJob(job: RecoverableJob) -> SynthOptions:
    """The options that a job was asked with."""
    request = job.handle.request()
    return SynthOptions(
        model=job.record.model,
        samples=int(request.get("samples", 1)),
        seed=int(request.get("seed", 0)),
        sampler=request.get("sampler"),
        steps=request.get("steps"),
        modalities=tuple(str(m) for m in request.get("modalities", ())),
        frames=int(request.get("frames", 1)),
    )


def _describe(handle: Any, finished: bool) -> RecoverableJob | None:
    record = readSceneRecord(handle.folder)
    if record is None or handle.kind not in ("synthesis", "growth"):
        return None
    with contextlib.suppress(MedDDPMError):
        job = handle.folder.read()
        samples = int(job.request.get("samples", 1))
        images = "1 sample" if samples == 1 else f"{samples} samples"
        images = "growth series" if handle.kind == "growth" else images
        title = f"{record.caseName}: {images} with the model {record.model}"
        return RecoverableJob(title, job.created, finished, record, handle)
    return None


def _segmentationFromMask(job: RecoverableJob, library: ModelLibrary) -> Any:
    """A segmentation like the one that the job was started from, made from its mask file."""
    from medddpm.geometry.io import read_mask

    scheme = library.describe(job.record.model).config.scheme
    masks = job.handle.request().get("masks") or [""]
    path = Path(str(masks[0]))
    if not path.is_file():
        raise InputError("The mask of this job is gone. Choose the segmentation that it belongs to, or delete the job.")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", job.record.caseName)
    node.CreateDefaultDisplayNodes()
    createSegments(node, scheme)
    applyLabels(node, scheme, read_mask(path).volume)
    return node
