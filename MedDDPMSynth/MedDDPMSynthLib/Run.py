"""One generation: from a segmentation in the scene to volumes in the scene, a little at a time."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import read_json, write_text
from medddpm.jobs.events import State
from medddpm.jobs.folder import JobFolder
from medddpm.labels.findings import listed
from medddpm.parse import from_dict
from MedDDPMSlicerLib.Background import SLICE_SECONDS
from MedDDPMSlicerLib.Job import Job, Steps
from MedDDPMSlicerLib.Models import ModelDescription, ModelLibrary
from MedDDPMSlicerLib.Nodes import NodeList, showInSlices, shownModality
from MedDDPMSlicerLib.SegmentReading import UNUSED, roleTexts

from .Growth import importSeries
from .Import import ImportPlan, importResults, undoImport
from .Options import SynthInputs, SynthOptions, withWidget
from .Preview import Preview
from .Request import checkOptions, exportFiles, requestOf
from .Results import caseItem, modalityOf

RECORD, MAX_RECORD_BYTES = "scene.json", 64 * 1024
# What the core calls the frames of a growth series.
_OF_FRAME = re.compile(r"^frame-\d+: ")
# What is being done, in the states and, while the job runs, in its stages.
_STATES = {
    State.PREPARING: "Preparing the mask",
    State.PENDING: "Waiting for the background process",
    State.IMPORTING: "Loading the images",
    State.CANCELLING: "Cancelling",
}
_STAGES = {
    "load": "Loading the model",
    "estimate": "Estimating the time",
    "prepare": "Preparing the mask",
    "sample": "Sampling",
    "write": "Writing the images",
}


@dataclass(frozen=True)
class SceneRecord:
    """What Slicer must know of a job to bring its results into a scene, kept in the job's own folder.

    ``caseName``: what the results are called; ``segmentationId``: the node they belong to, in its own scene; ``model``:
    key of the model; ``output``: the folder to deliver to, for a case of a batch; ``segments``: their roles.
    """

    caseName: str
    segmentationId: str = ""
    model: str = ""
    automatic: bool = False
    localEdit: bool = False
    output: str = ""
    segments: tuple[str, ...] = ()

    def write(self, folder: JobFolder) -> None:
        """Put it into a job's folder. Raises InputError on a full disk."""
        write_text(folder.inside(RECORD), json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, folder: JobFolder) -> SceneRecord | None:
        """The record in a job's folder; None where there is none of ours."""
        try:
            return from_dict(cls, read_json(folder.inside(RECORD), MAX_RECORD_BYTES, "It cannot be read."), RECORD)
        except InputError:
            return None


class SynthRun(Job):
    """One generation; ``SynthService`` makes it.

    It goes PREPARING (compose the mask, write files) - PENDING, RUNNING (the job) - IMPORTING - DONE. A run that does
    not end well leaves no node, file or job; the job of one that does stays until its volumes are saved. ``inputs``,
    ``options`` and ``automatic`` are what was asked; ``caseName`` what the results are called; ``resultItem`` the
    hierarchy folder of the results. ``folder``: a job of an earlier session to go on with; otherwise one is submitted.
    """

    keepsFolder = True

    def __init__(
        self,
        inputs: SynthInputs,
        options: SynthOptions,
        library: ModelLibrary,
        storage: Any,
        jobs: Any,
        automatic: bool = False,
        folder: JobFolder | None = None,
    ) -> None:
        self.inputs, self.options, self.automatic = inputs, options, automatic
        self.caseName: str = inputs.segmentation.GetName()
        self.resultItem = 0
        self._segments: tuple[str, ...] = ()
        self._made = NodeList()
        self._preview: Preview | None = None
        self._plan: ImportPlan | None = None
        self._model: ModelDescription | None = None
        self._cancelSentence = "The generation was cancelled."
        super().__init__(jobs, self._prepare(library, storage) if folder is None else None, self._import)
        if folder is not None:
            record = SceneRecord.read(folder)
            self._segments = record.segments if record is not None else ()
            self._model = library.describe(options.model)
            self._startPreview()
            self.attach(folder)

    @property
    def volumes(self) -> list[Any]:
        """The volume nodes that it made and that are still in the scene."""
        return self._made.inScene()

    @property
    def doing(self) -> str:
        """What is being done, in a few words; empty at the end."""
        if self.state is not State.RUNNING:
            return _STATES.get(self.state, "")
        name = _STAGES.get(self.stage or "load", "Sampling")
        count = self.options.samples * self.options.frames
        if self.stage != "sample" or count == 1 or self.step is None or not self.total:
            return name
        return f"{name} image {min(count, 1 + int(self.step * count / self.total))} of {count}"

    def tick(self) -> None:
        """Work for some milliseconds and tell the observers of changes."""
        lost = not self.finished and self.inputs.segmentation.GetScene() is None
        if lost and self.state is not State.CANCELLING:  # there is nothing to bring results into
            self._cancelSentence = "The segmentation was removed, so its generation was cancelled."
            self.cancel()
        if self._preview is not None and self.state is State.RUNNING:
            self._preview.follow(self.preview)
            self._preview.tick(SLICE_SECONDS)
        super().tick()

    def onSubmitted(self, folder: JobFolder) -> None:
        """See Job."""
        segmentation, local = self.inputs.segmentation, self.inputs.isLocalEdit
        place = (self.caseName, segmentation.GetID(), self.options.model, self.automatic, local)
        SceneRecord(*place, segments=self._segments).write(folder)
        self._startPreview()

    def onEnd(self, state: State) -> None:
        """See Job."""
        self._removePreview()
        if self._plan is not None and state is not State.DONE:
            undoImport(self._plan)
        self._plan = None  # its nodes, and those of the inputs, shall not be kept alive with all their voxels
        self.inputs = SynthInputs(self.inputs.segmentation)

    def sentence(self, state: State, message: str) -> str:
        """See Job."""
        if state is State.CANCELLED:
            return self._cancelSentence
        if state is not State.DONE:
            return withWidget(message or "The generation failed.", self.option)
        if self.options.frames > 1:
            return f"The series of {self.options.frames} frames is ready: play it with the toolbar Sequence browser."
        samples = len(self._plan.items) if self._plan is not None else 0
        return "The images are ready." if samples == 1 else f"{samples} samples are ready."

    def warn(self, sentence: str) -> None:
        """See Job; most is true of every frame of a series."""
        if self.options.frames == 1:
            super().warn(sentence)
        elif (once := _OF_FRAME.sub("", sentence)) not in self.warnings:
            super().warn(once)

    def _prepare(self, library: ModelLibrary, storage: Any) -> Steps:
        self._model = library.describe(self.options.model)
        checkOptions(self.options, self._model)
        yield
        files = yield from exportFiles(self.inputs, self.options, self._model, storage)
        self._segments = tuple(roleTexts(self.inputs.segmentation, self._model.config.scheme))
        yield
        return "growth" if self.options.frames > 1 else "synthesis", requestOf(self.options, self._model, files)

    def _import(self, outputs: Path) -> Steps:
        assert self._model is not None and self.folder is not None
        segmentation, known, name = self.inputs.segmentation, dict(self.inputs.knownVolumes), self.folder.path.name
        unused = [text.removesuffix(UNUSED) for text in self._segments if text.endswith(UNUSED)]
        if unused:
            self.warn(f"Not used: {'segment' if len(unused) == 1 else 'segments'} {listed(unused)}.")
        plan = ImportPlan(segmentation, self._model, outputs, name, self.caseName, self.automatic, self._segments)
        plan.windowOf, self._plan = known, plan
        volumes = yield from (importSeries if self.options.frames > 1 else importResults)(self._plan)
        self._removePreview()
        self._made, self.resultItem = NodeList(volumes), caseItem(segmentation)
        if volumes:
            shown = shownModality(segmentation)
            showInSlices(next((v for v in volumes if modalityOf(v) == shown), volumes[0]))

    def _startPreview(self) -> None:
        if self.options.showPreview and self._model is not None:
            wanted = self.options.modalities or self._model.modalities
            shown = shownModality(self.inputs.segmentation)
            self._preview = Preview(self.inputs.segmentation, shown if shown in wanted else wanted[0])

    def _removePreview(self) -> None:
        if self._preview is not None:
            self._preview.remove()
        self._preview = None
