"""Jobs of an earlier session: what was interrupted can run again, what was finished can be brought into the scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import JobMonitor
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.Nodes import syntheticVolumes
from MedDDPMSlicerLib.SegmentMasks import applyLabels
from MedDDPMSlicerLib.Segments import createSegments
from MedDDPMSlicerLib.Texts import counted

from .Import import SceneRecord
from .Options import SynthInputs, SynthOptions
from .Results import JOB


@dataclass(frozen=True)
class RecoverableJob:
    """``title`` says what it is.

    ``finished``: its images are there and only have to be imported; otherwise it will be run again.
    """

    title: str
    finished: bool
    record: SceneRecord
    job: Job


class Recovery:
    """What earlier sessions left in the spool of ``jobs`` (a JobMonitor); ``carryOn`` brings a job to its end."""

    def __init__(
        self, jobs: JobMonitor, library: ModelLibrary, carryOn: Callable[[RecoverableJob, SynthInputs], Any]
    ) -> None:
        self._jobs, self._library, self._carryOn = jobs, library, carryOn

    def found(self) -> list[RecoverableJob]:
        """The jobs that can be offered, oldest first."""
        found = []
        for job, finished in [*((j, False) for j in self._jobs.unfinished()), *((j, True) for j in self._jobs.done())]:
            assert job.folder is not None
            name, record = job.folder.path.name, SceneRecord.read(job.folder)
            # Finished, it may be taken by something of this session, or have been.
            taken = type(job) is not Job or any(v.GetAttribute(JOB) == name for v in syntheticVolumes())
            if record is None or job.kind not in ("synthesis", "growth") or (finished and taken):
                continue
            images = "growth series" if job.kind == "growth" else counted(int(job.request.get("samples", 1)), "sample")
            title = f"{record.caseName}: {images} with the model {record.model}"
            found.append(RecoverableJob(title, finished, record, job))
        return sorted(found, key=lambda found: found.job.created)

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
        """The segmentation of the job's name, else one made from its mask file, like that which it was started from."""
        from medddpm.geometry.io import read_mask

        found = slicer.mrmlScene.GetFirstNodeByName(job.record.caseName)
        if found is not None and found.IsA("vtkMRMLSegmentationNode"):
            return found
        scheme = self._library.describe(job.record.model).config.scheme
        path = Path(str((job.job.request.get("masks") or [""])[0]))
        if not path.is_file():
            raise InputError(
                "The mask of this job is gone. Choose the segmentation that it belongs to, or delete the job."
            )
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", job.record.caseName)
        node.CreateDefaultDisplayNodes()
        createSegments(node, scheme)
        applyLabels(node, scheme, read_mask(path).volume)
        return node


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
