"""One generation: from a segmentation in the scene to volumes in the scene, a little at a time."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.jobs.events import State
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.preview import GRID_NAME, read_preview
from medddpm.labels.findings import listed
from MedDDPMSlicerLib.Background import SLICE_SECONDS, SlicedTask
from MedDDPMSlicerLib.Job import Job, Steps
from MedDDPMSlicerLib.Models import ModelDescription, ModelLibrary
from MedDDPMSlicerLib.Nodes import (
    NodeList,
    SliceLayers,
    displayGray,
    isShown,
    placeLike,
    removeNode,
    setAffine,
    showInSlices,
    shownModality,
    showOutline,
)
from MedDDPMSlicerLib.SegmentReading import UNUSED, roleTexts
from MedDDPMSlicerLib.Texts import _
from MedDDPMSlicerLib.Volumes import newImage, slabs

from .Growth import importSeries
from .Import import BRIGHTEST, ImportPlan, SceneRecord, importResults, undoImport
from .Marking import isEdited
from .Options import SynthInputs, SynthOptions, withWidget
from .Request import checkOptions, exportFiles, frameUsed, requestOf
from .Results import caseItem, caseName, modalityOf

logger = logging.getLogger(__name__)

MAX_GRID_BYTES = 64 * 1024
# What the core calls the frames of a growth series, and how it says that it read the numbers that we gave.
_OF_FRAME, _OWN_READING = re.compile(r"^frame-\d+: "), "The labels are read as given"
# What is being done, in the states and, while the job runs, in its stages.
_STATES = {
    State.PREPARING: _("Preparing the mask"),
    State.PENDING: _("Waiting for the background process"),
    State.IMPORTING: _("Loading the images"),
    State.CANCELLING: _("Cancelling"),
}
_STAGES = {
    "load": _("Loading the model"),
    "estimate": _("Estimating the time"),
    "prepare": _("Preparing the mask"),
    "sample": _("Sampling"),
    "write": _("Writing the images"),
}


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
        self.caseName = caseName(inputs.segmentation)
        self.resultItem = 0
        self._segments: tuple[str, ...] = ()
        self._frames: tuple[str, ...] = ()
        self._made = NodeList()
        self._preview: Preview | None = None
        self._plan: ImportPlan | None = None
        self._model: ModelDescription | None = None
        self._cancelSentence = _("The generation was cancelled.")
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
        name = _STAGES.get(self.stage or "load", _("Sampling"))
        count = self.options.samples * self.options.frames
        if self.stage != "sample" or count == 1 or self.step is None or not self.total:
            return name
        return f"{name} image {min(count, 1 + int(self.step * count / self.total))} of {count}"

    def tick(self) -> None:
        """Work for some milliseconds and tell the observers of changes."""
        lost = not self.finished and self.inputs.segmentation.GetScene() is None
        if lost and self.state is not State.CANCELLING:  # there is nothing to bring results into
            self._cancelSentence = _("The segmentation was removed, so its generation was cancelled.")
            self.cancel()
        if self._preview is not None and self.state is State.RUNNING:
            self._preview.follow(self.preview)
            self._preview.tick(SLICE_SECONDS)
        super().tick()

    def onSubmitted(self, folder: JobFolder) -> None:
        """See Job."""
        segmentation, local = self.inputs.segmentation, self.inputs.isLocalEdit
        # Not the patient's name, which is none of a file's business.
        place = (segmentation.GetName(), segmentation.GetID(), self.options.model, self.automatic, local)
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
            return withWidget(message or _("The generation failed."), self.option)
        if self.options.frames > 1:
            return f"The series of {self.options.frames} frames is ready: play it with the toolbar Sequence browser."
        samples = len(self._plan.items) if self._plan is not None else 0
        return _("The images are ready.") if samples == 1 else f"{samples} samples are ready."

    def warn(self, sentence: str) -> None:
        """See Job; most is true of every frame of a series. How our own numbers were read is of no use here."""
        once = sentence if self.options.frames == 1 else _OF_FRAME.sub("", sentence)
        if once not in self.warnings and not once.startswith(_OWN_READING):
            super().warn(once)

    def _prepare(self, library: ModelLibrary, storage: Any) -> Steps:
        self._model = library.describe(self.options.model)
        checkOptions(self.options, self._model)
        yield
        files = yield from exportFiles(self.inputs, self.options, self._model, storage)
        self._segments = tuple(roleTexts(self.inputs.segmentation, self._model.config.scheme))
        volumes = (self.inputs.referenceVolume, *self.inputs.knownVolumes.values(), *self.inputs.referenceScan.values())
        self._frames = tuple(said for volume in volumes if (said := frameUsed(volume)))
        yield
        return "growth" if self.options.frames > 1 else "synthesis", requestOf(self.options, self._model, files)

    def _import(self, outputs: Path) -> Steps:
        assert self._model is not None and self.folder is not None
        segmentation, known, name = self.inputs.segmentation, dict(self.inputs.knownVolumes), self.folder.path.name
        unused = [text.removesuffix(UNUSED) for text in self._segments if text.endswith(UNUSED)]
        for said in self._frames:
            self.warn(said)
        if unused:
            self.warn(f"Not used: {'segment' if len(unused) == 1 else 'segments'} {listed(unused)}.")
        plan = ImportPlan(segmentation, self._model, outputs, name, self.caseName, self.automatic, self._segments)
        plan.windowOf, self._plan = known, plan
        volumes = yield from (importSeries if self.options.frames > 1 else importResults)(self._plan)
        self._removePreview()
        self._made, self.resultItem = NodeList(volumes), caseItem(segmentation, bool(plan.edited))
        whole = [modalityOf(volume) for volume in volumes if plan.edited and not isEdited(volume)]
        if whole:
            self.warn(f"Not given of the scan, so synthetic throughout: {listed(whole)}.")
        if volumes:
            shown = self._shownModality(known)
            showInSlices(next((v for v in volumes if modalityOf(v) == shown), volumes[0]))

    def _startPreview(self) -> None:
        if self.options.showPreview and self._model is not None:
            wanted = self.options.modalities or self._model.modalities
            shown = self._shownModality(self.inputs.knownVolumes)
            self._preview = Preview(self.inputs.segmentation, shown if shown in wanted else wanted[0])

    def _shownModality(self, scan: dict[str, Any]) -> str:
        """What the slice views show of the results so far, or of the scan that is edited."""
        own = next((name for name, volume in scan.items() if isShown([volume])), "")
        return own or shownModality(self.inputs.segmentation)

    def _removePreview(self) -> None:
        if self._preview is not None:
            self._preview.remove()
        self._preview = None


class Preview:
    """Shows the newest picture of a job, one at a time, in small steps.

    Makes its node with the first picture and shows it in the slice views. ``modality``: the one of the pictures that is
    shown. ``remove`` takes the node away and shows what was there before.
    """

    def __init__(self, segmentationNode: Any, modality: str) -> None:
        self._segmentation, self._modality = segmentationNode, modality
        self._layers: SliceLayers | None = None
        self._id: str | None = None
        self._task: SlicedTask | None = None
        self._shown: Path | None = None

    @property
    def node(self) -> Any:
        """The volume node; None as long as there is none."""
        return slicer.mrmlScene.GetNodeByID(self._id) if self._id else None

    def follow(self, picture: Path | None) -> None:
        """Begin to show a picture file, unless it was shown or an older one is still on its way."""
        if picture is None or picture == self._shown or (self._task is not None and not self._task.finished):
            return
        self._shown = picture
        self._task = SlicedTask(self._update(picture), lambda _: None, _logFailure)

    def tick(self, seconds: float) -> None:
        """Work for about ``seconds``."""
        if self._task is not None and not self._task.finished:
            self._task.step(seconds)

    def remove(self) -> None:
        """End showing, and take the node away; views that showed it show what they did before."""
        if self._task is not None and not self._task.finished:
            self._task.cancel()
        node = self.node
        if node is None:
            return
        if self._layers is not None:
            self._layers.restore(instead=self._id)
        removeNode(node)
        self._id = None

    def _update(self, picture: Path) -> Generator[None, None, None]:
        """Steps that show a picture. One that is gone or unreadable is passed over."""
        try:
            channels = read_preview(picture)
            grid = read_json(picture.parent / GRID_NAME, MAX_GRID_BYTES, _("The grid of the preview cannot be read."))
            modalities = [str(m).casefold() for m in grid.get("modalities", [])]
            wanted = self._modality.casefold()
            channel = modalities.index(wanted) if wanted in modalities else 0
            affine = np.asarray(grid.get("affine"), dtype=np.float64)
            if affine.shape != (4, 4) or not np.isfinite(affine).all() or channel >= channels.shape[0]:
                raise InputError(_("The grid of the preview does not fit."))
        except (FileNotFoundError, InputError) as exc:
            logger.info("a preview was passed over: %s", type(exc).__name__)
            return
        yield
        source = channels[channel].T
        image, target = newImage(source.shape[::-1], np.int16)
        for part in slabs(target.shape[0], target.shape[1] * target.shape[2]):
            target[part] = np.rint((source[part].astype(np.float32) + 1) * (BRIGHTEST / 2))
            yield
        self._show(image, affine)

    def _show(self, image: Any, affine: np.ndarray) -> None:
        node = self.node
        if node is not None:
            node.SetAndObserveImageData(image)
            return
        name = f"{self._modality} preview – {self._segmentation.GetName()} (synthetic)"
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetSaveWithScene(False)
        self._id = node.GetID()
        setAffine(node, affine)
        placeLike(node, self._segmentation)
        displayGray(node, 0, BRIGHTEST)
        node.SetAndObserveImageData(image)
        self._layers = SliceLayers()
        showInSlices(node)
        showOutline(self._segmentation)  # filled, the mask would hide the picture


def _logFailure(error: Exception) -> None:
    logger.warning("a preview could not be shown: %s", type(error).__name__)
