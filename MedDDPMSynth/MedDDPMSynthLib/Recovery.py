"""Jobs of an earlier session: what was interrupted can run again, what was finished can be brought into the scene."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError
from medddpm.jobs.folder import JobFolder
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import JobMonitor
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.Nodes import syntheticVolumes
from MedDDPMSlicerLib.SegmentMasks import applyLabels
from MedDDPMSlicerLib.Segments import createSegments

from .Options import SynthInputs, SynthOptions
from .Results import JOB
from .Run import SceneRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecoverableJob:
    """``title`` says what it is, ``created`` when it was asked for (seconds since 1970).

    ``finished``: its images are there and only have to be imported; otherwise it will be run again.
    """

    title: str
    finished: bool
    record: SceneRecord
    job: Job

    @property
    def created(self) -> float:
        """See the class."""
        return self.job.created

    @property
    def folder(self) -> JobFolder:
        """The folder of the job."""
        assert self.job.folder is not None
        return self.job.folder


class Recovery:
    """What earlier sessions left in the spool of ``jobs`` (a JobMonitor); ``carryOn`` brings a job to its end."""

    def __init__(
        self, jobs: JobMonitor, library: ModelLibrary, carryOn: Callable[[RecoverableJob, SynthInputs], Any]
    ) -> None:
        self._jobs, self._library, self._carryOn = jobs, library, carryOn

    def found(self) -> list[RecoverableJob]:
        """The jobs that can be offered, oldest first."""
        interrupted = [(job, False) for job in self._jobs.unfinished()]
        finished = [(job, True) for job in self._jobs.done() if not _taken(job)]
        jobs = [found for job, done in [*interrupted, *finished] if (found := _describe(job, done)) is not None]
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
        job.job.discard()

    def _segmentationOf(self, job: RecoverableJob) -> Any:
        found = slicer.mrmlScene.GetFirstNodeByName(job.record.caseName)
        if found is not None and found.IsA("vtkMRMLSegmentationNode"):
            return found
        return _segmentationFromMask(job, self._library)


def optionsOfJob(job: RecoverableJob) -> SynthOptions:
    """The options that a job was asked with."""
    request = job.job.request
    return SynthOptions(
        model=job.record.model,
        samples=int(request.get("samples", 1)),
        seed=int(request.get("seed", 0)),
        sampler=request.get("sampler"),
        steps=request.get("steps"),
        modalities=tuple(str(m) for m in request.get("modalities", ())),
        frames=int(request.get("frames", 1)),
    )


def _describe(job: Job, finished: bool) -> RecoverableJob | None:
    assert job.folder is not None
    record = SceneRecord.read(job.folder)
    if record is None or job.kind not in ("synthesis", "growth"):
        return None
    samples = int(job.request.get("samples", 1))
    images = "1 sample" if samples == 1 else f"{samples} samples"
    images = "growth series" if job.kind == "growth" else images
    return RecoverableJob(f"{record.caseName}: {images} with the model {record.model}", finished, record, job)


def _taken(job: Job) -> bool:
    """Whether something of this session takes its results, or has."""
    assert job.folder is not None
    name = job.folder.path.name
    return type(job) is not Job or any(v.GetAttribute(JOB) == name for v in syntheticVolumes(slicer.mrmlScene))


def _segmentationFromMask(job: RecoverableJob, library: ModelLibrary) -> Any:
    """A segmentation like the one that the job was started from, made from its mask file."""
    from medddpm.geometry.io import read_mask

    scheme = library.describe(job.record.model).config.scheme
    masks = job.job.request.get("masks") or [""]
    path = Path(str(masks[0]))
    if not path.is_file():
        raise InputError("The mask of this job is gone. Choose the segmentation that it belongs to, or delete the job.")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", job.record.caseName)
    node.CreateDefaultDisplayNodes()
    createSegments(node, scheme)
    applyLabels(node, scheme, read_mask(path).volume)
    return node
