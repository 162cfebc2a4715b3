"""The mask: sample case, segments, outline from the MRI, the embedded editor and the live check."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import slicer
from medddpm.labels.findings import WARNING, Finding
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Nodes import removeNode, showInSlices, shownVolume
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.RolesList import RolesList
from MedDDPMSlicerLib.Panels.Widgets import enable, say
from MedDDPMSlicerLib.Segments import createSegments, segmentValues
from slicer.i18n import tr as _

from .. import SampleCase
from ..Options import realScan
from .Context import Context
from .EmptyMask import canvasOf, giveGeometry, knownCanvas, newSegmentation
from .FindingsList import FindingsList
from .Texts import checkSummary

EDITOR_TAG = "MedDDPMSynth"
BEGUN = "MedDDPMSynth.begun"
# How the values of a file were read: of no use here, where the segments say what they are.
_OF_FILES = ("convention", "mapping")


class MaskPanel(Panel):
    """Everything about the mask."""

    messageLabel = "CheckStatusLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self.editor = ui.SegmentEditorWidget
        self.findings = FindingsList(ui.FindingsWidget.layout(), self.fix)
        self.roles = RolesList(context.service.check.touch)
        ui.RolesWidget.layout().addWidget(self.roles.box)
        self._chosen: tuple[Any, Any] | None = None
        self._filled: list[tuple[Any, str]] | None = None
        self._outlined: list[Finding] = []
        self._revision = 0
        self._connectEditor()
        ui.SampleCaseButton.clicked.connect(self.loadSampleCase)
        ui.CreateSegmentsButton.clicked.connect(self.createSegments)
        ui.OutlineButton.clicked.connect(self.outline)
        ui.FixAllButton.clicked.connect(self.fixAll)

    def refresh(self) -> None:
        """Bring editor, check and buttons in line with the chosen nodes."""
        parameters = self.context.parameters
        self._selectEditorNode()
        self._selectNodes(parameters)
        watched = parameters.segmentation if parameters.liveCheck else None
        self.context.service.check.observe(watched, parameters.referenceVolume, parameters.model)
        self._updateButtons()

    def tick(self) -> None:
        """Show what the check says."""
        check = self.context.service.check
        parameters = self.context.parameters
        if check.revision != self._revision:  # what was said is about a mask that has changed, or is undone
            self._remember("", [])
        self._followEffect()
        self.roles.show(parameters.segmentation if parameters is not None else None, self.context.scheme)
        watched = parameters is not None and parameters.segmentation is not None and parameters.liveCheck
        found = [finding for finding in check.findings if finding.code not in _OF_FILES] if watched else []
        self.findings.show([*self._outlined, *found])
        self._updateButtons()
        self._updateCheckStatus(check, watched)
        fixable = [finding for finding in check.findings if finding.fixable] if watched else []
        self.ui.FixAllButton.visible = len(fixable) > 1
        busy = _("The mask is being checked; one moment.") if check.checking else None
        self.findings.enable(busy)
        enable(self.ui.FixAllButton, busy)

    def enter(self) -> None:
        """Give the editor its views and shortcuts."""
        self._selectEditorNode()
        self.editor.setupViewObservations()
        self.editor.installKeyboardShortcuts()
        self.editor.updateWidgetFromMRML()

    def exit(self) -> None:
        """Leave views and shortcuts to others."""
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()

    def sceneClosing(self) -> None:
        """Let go of the nodes."""
        self._chosen = self._filled = None
        self._remember("", [])
        self.context.service.check.stop()
        enable(self.ui.SampleCaseButton, None)
        self.editor.setActiveEffect(None)
        self.editor.setSegmentationNode(None)
        self.editor.removeViewObservations()

    def cleanup(self) -> None:
        """Leave nothing behind that would call into deleted widgets."""
        self.context.service.check.stop()
        self._factory.disconnect("effectRegistered(QString)", self._onEffectRegistered)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.setMRMLSegmentEditorNode(None)

    def loadSampleCase(self) -> None:
        """Load the sample mask and choose it."""
        with self.told():
            enable(self.ui.SampleCaseButton, _("The sample case is being loaded."))
            done = partial(enable, self.ui.SampleCaseButton, None)
            self.context.service.startTask(SlicedTask(self._sampleCase(), lambda _: done(), self._onSampleFailed), 0)

    def _sampleCase(self) -> Generator[None, None, None]:
        segmentation = yield from SampleCase.sampleCaseSteps(self.context.scheme)
        yield
        self.context.parameters.segmentation = segmentation
        self._noteModel(self.context.parameters)
        yield
        self._dimSurround(segmentation)
        slicer.util.resetSliceViews()

    def _onSampleFailed(self, error: Exception) -> None:
        enable(self.ui.SampleCaseButton, None)
        with self.told():
            raise error

    def createSegments(self) -> None:
        """Add the model's segments; makes a segmentation where none is chosen."""
        with self.told():
            parameters, grid = self.context.parameters, self.context.model.config.grid
            if parameters.segmentation is None:
                parameters.segmentation = newSegmentation(parameters.referenceVolume, grid)
            giveGeometry(parameters.segmentation, parameters.referenceVolume, grid)
            self.saveUndo()
            createSegments(parameters.segmentation, self.context.scheme)
            self._noteModel(parameters)
            self._selectNodes(parameters)
            if not self.editor.currentSegmentID():
                self.editor.setCurrentSegmentID(parameters.segmentation.GetSegmentation().GetNthSegmentID(0))
            _showWhereEmpty(self.editor.sourceVolumeNode())

    def outline(self) -> None:
        """Make the head or brain segment from the reference MRI, or the one in the views, in the background."""
        with self.told():
            parameters = self.context.parameters
            if parameters.referenceVolume is None:
                parameters.referenceVolume = shownVolume()
            if parameters.segmentation is None:
                self.createSegments()
            self.context.service.outline(parameters, self._onOutline, self.sayError, self.saveUndo)

    def fix(self, finding: Any) -> None:
        """Put one finding right."""
        with self.told():
            self.context.service.check.fix(finding, self.saveUndo)

    def fixAll(self) -> None:
        """Put all findings right that have a fix."""
        with self.told():
            self.context.service.check.fixAll(self.saveUndo)

    def saveUndo(self) -> None:
        """Remember the mask as it is for the editor's undo button."""
        self.editor.saveStateForUndo()

    def sayError(self, text: str) -> None:
        """See Panel; it is over when the mask changes."""
        self._remember(text, [])
        super().sayError(text)

    def _connectEditor(self) -> None:
        """The editor's node must be set before its scene; effects that come later must appear, too."""
        self._selectEditorNode()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self._factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
        self._factory.connect("effectRegistered(QString)", self._onEffectRegistered)

    def _onEffectRegistered(self, *_: Any) -> None:
        self.editor.updateEffectList()

    def _selectEditorNode(self) -> None:
        node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(EDITOR_TAG)
            node = slicer.mrmlScene.AddNode(node)
        if not node.GetAttribute(BEGUN):  # a closed scene takes the node's settings along, with this one
            node.SetAttribute(BEGUN, "1")
            node.SetOverwriteMode(node.OverwriteNone)
        if self.editor.mrmlSegmentEditorNode() != node:
            self.editor.setMRMLSegmentEditorNode(node)

    def _selectNodes(self, parameters: Any) -> None:
        """Segmentation and volume to the editor; what was newly chosen, not found in the scene, also to the views."""
        segmentation, reference = parameters.segmentation, parameters.referenceVolume
        node = self.editor.mrmlSegmentEditorNode()
        segment = node.GetSelectedSegmentID() or ""
        self.editor.setSegmentationNode(segmentation)
        if segmentation is not None and segmentation.GetSegmentation().GetSegment(segment) is not None:
            node.SetSelectedSegmentID(segment)
        source, canvas = reference or next(iter(realScan(parameters).values()), None), None
        if segmentation is not None:
            canvas = knownCanvas(segmentation) if source else canvasOf(segmentation)
        self.editor.setSourceVolumeNode(source or canvas)
        if source is not None:
            removeNode(canvas)
        before, self._chosen = self._chosen, (segmentation, reference)
        if before is None or before == self._chosen:
            return
        if source is None:
            _showWhereEmpty(canvas)
        elif reference is not None and reference != before[1]:
            showInSlices(reference)

    def _followEffect(self) -> None:
        """While an effect is active, what lies around the tumor is an outline: its fill would hide the image."""
        painting, segmentation = self.editor.activeEffect() is not None, self.editor.segmentationNode()
        if painting and self._filled is None and segmentation is not None and self.context.scheme is not None:
            _showWhereEmpty(self.editor.sourceVolumeNode())
            display, scheme = segmentation.GetDisplayNode(), self.context.scheme
            values = segmentValues(segmentation, scheme).items()
            around = [key for key, value in values if value is not None and value not in scheme.tumor_values]
            self._filled = [(display, key) for key in around if display.GetSegmentVisibility2DFill(key)]
            self._fill(False)
        elif not painting and self._filled is not None:
            self._fill(True)
            self._filled = None

    def _fill(self, visible: bool) -> None:
        for display, segment in self._filled or ():
            display.SetSegmentVisibility2DFill(segment, visible)

    def _noteModel(self, parameters: Any) -> None:
        """Let the segmentation say which model its labels are for; the editor's effect reads it."""
        parameters.segmentation.SetAttribute("MedDDPM.model", parameters.model)

    def _dimSurround(self, segmentation: Any) -> None:
        """The brain or head lies under all parts: drawn faintly, it leaves them the colors of the list.

        Over an MRI it is an outline, whose border can be looked at.
        """
        scheme, core = self.context.scheme, segmentation.GetSegmentation()
        surround = core.GetSegmentIdBySegmentName(scheme.label(scheme.surround).name)
        if surround:
            segmentation.GetDisplayNode().SetSegmentOpacity2DFill(surround, 0.6)
            plain = self.context.parameters.referenceVolume is None
            segmentation.GetDisplayNode().SetSegmentVisibility2DFill(surround, plain)

    def _updateButtons(self) -> None:
        parameters, model = self.context.parameters, self.context.model
        if parameters is None:
            return
        noModel = _("Choose a model first.") if model is None else None
        enable(self.ui.CreateSegmentsButton, noModel)
        name = model.config.scheme.label(model.config.scheme.surround).name if model is not None else _("Outline")
        self.ui.OutlineButton.text = _("{name} from MRI").format(name=name)
        shown = parameters.referenceVolume is not None or shownVolume() is not None
        noMri = None if shown else _("Load an MRI of the patient first, or choose it above.")
        enable(self.ui.OutlineButton, noModel or noMri)

    def _updateCheckStatus(self, check: Any, watched: bool) -> None:
        if self.problem:
            say(self.ui.CheckStatusLabel, self.problem, "error")
        elif not watched or self.context.busyRun is self.context.service.maskJob is not None:
            say(self.ui.CheckStatusLabel, "")
        elif check.checking:
            say(self.ui.CheckStatusLabel, _("The mask is being checked…"))
        elif check.message:
            say(self.ui.CheckStatusLabel, check.message)
        else:
            worst = "error" if any(finding.severity == "error" for finding in check.findings) else "info"
            say(self.ui.CheckStatusLabel, checkSummary(check.findings), worst)

    def _onOutline(self) -> None:
        if self.context.parameters.segmentation is not None:
            self._dimSurround(self.context.parameters.segmentation)
        warnings = self.context.service.maskJob.warnings
        self._remember("", [Finding("outline", WARNING, text) for text in warnings])

    def _remember(self, problem: str, outlined: list[Finding]) -> None:
        self.problem, self._outlined, self._revision = problem, outlined, self.context.service.check.revision


def _showWhereEmpty(volume: Any) -> None:
    """Slice views without an image get this one: without any, their sliders reach from -1 to 1 mm only."""
    manager = slicer.app.layoutManager()
    if volume is None or manager is None:
        return
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        if slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "") is None:
            composite.SetBackgroundVolumeID(volume.GetID())
