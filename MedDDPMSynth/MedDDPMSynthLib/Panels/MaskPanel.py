"""The mask: sample case, segments, outline from the MRI, the embedded editor and the live check."""

from __future__ import annotations

from typing import Any

import slicer
from MedDDPMSlicerLib.Nodes import removeNode, showInSlices
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.RolesList import RolesList
from MedDDPMSlicerLib.Panels.Widgets import enable, say
from MedDDPMSlicerLib.Segments import createSegments

from .. import SampleCase
from ..Options import realScan
from .Context import Context
from .EmptyMask import CANVAS_ROLE, canvasOf, giveGeometry, newSegmentation
from .FindingsList import FindingsList
from .Texts import checkSummary

EDITOR_TAG = "MedDDPMSynth"
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
        self._shownReference: Any = None
        self._newScene = True
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
        self.roles.show(parameters.segmentation if parameters is not None else None, self.context.scheme)
        watched = parameters is not None and parameters.segmentation is not None and parameters.liveCheck
        self.findings.show([finding for finding in check.findings if finding.code not in _OF_FILES] if watched else ())
        self._updateCheckStatus(check, watched)
        fixable = [finding for finding in check.findings if finding.fixable] if watched else []
        self.ui.FixAllButton.visible = len(fixable) > 1
        busy = "The mask is being checked; one moment." if check.checking else None
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
        self._shownReference, self._newScene = None, True
        self.context.service.check.stop()
        self.editor.setActiveEffect(None)
        self.editor.setSegmentationNode(None)
        self.editor.removeViewObservations()

    def cleanup(self) -> None:
        """Leave nothing behind that would call into deleted widgets."""
        self.context.service.check.stop()
        self._factory.disconnect("effectRegistered(QString)", self._onEffectRegistered)
        self.editor.setMRMLSegmentEditorNode(None)

    def loadSampleCase(self) -> None:
        """Load the sample mask and choose it."""
        with self.told():
            self.context.parameters.segmentation = SampleCase.loadSampleCase(self.context.scheme)
            self._noteModel(self.context.parameters)
            self._dimSurround(self.context.parameters.segmentation)
            slicer.util.resetSliceViews()

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

    def outline(self) -> None:
        """Make the head or brain segment from the reference MRI, in the background."""
        with self.told():
            if self.context.parameters.segmentation is None:
                self.createSegments()
            say(self.ui.CheckStatusLabel, "The outline is being made…")
            self.context.service.outline(self.context.parameters, self._onOutline, self.sayError, self.saveUndo)

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
            self._newScene = True
        if self._newScene:  # a closed scene takes the node's settings along
            self._newScene = False
            node.SetOverwriteMode(node.OverwriteNone)
        if self.editor.mrmlSegmentEditorNode() != node:
            self.editor.setMRMLSegmentEditorNode(node)

    def _selectNodes(self, parameters: Any) -> None:
        """Segmentation and volume to the editor; a newly chosen MRI also to the slice views."""
        self.editor.setSegmentationNode(parameters.segmentation)
        source = parameters.referenceVolume or next(iter(realScan(parameters).values()), None)
        canvas = None
        if parameters.segmentation is not None:
            canvas = (
                parameters.segmentation.GetNodeReference(CANVAS_ROLE) if source else canvasOf(parameters.segmentation)
            )
        self.editor.setSourceVolumeNode(source or canvas)
        if source is None:
            _showWhereEmpty(canvas)
        else:
            removeNode(canvas)
        if parameters.referenceVolume is not None and parameters.referenceVolume != self._shownReference:
            showInSlices(parameters.referenceVolume)
        self._shownReference = parameters.referenceVolume

    def _noteModel(self, parameters: Any) -> None:
        """Let the segmentation say which model its labels are for; the editor's effect reads it."""
        parameters.segmentation.SetAttribute("MedDDPM.model", parameters.model)

    def _dimSurround(self, segmentation: Any) -> None:
        """The brain or head lies under all parts: drawn faintly, it leaves them the colors of the list."""
        scheme, core = self.context.scheme, segmentation.GetSegmentation()
        surround = core.GetSegmentIdBySegmentName(scheme.label(scheme.surround).name)
        if surround:
            segmentation.GetDisplayNode().SetSegmentOpacity2DFill(surround, 0.6)

    def _updateButtons(self) -> None:
        parameters, model = self.context.parameters, self.context.model
        noModel = "Choose a model first." if model is None else None
        enable(self.ui.CreateSegmentsButton, noModel)
        name = model.config.scheme.label(model.config.scheme.surround).name if model is not None else "Outline"
        self.ui.OutlineButton.text = f"{name} from MRI"
        noMri = "Choose the reference MRI above first." if parameters.referenceVolume is None else None
        enable(self.ui.OutlineButton, noModel or noMri)

    def _updateCheckStatus(self, check: Any, watched: bool) -> None:
        if self.problem:
            say(self.ui.CheckStatusLabel, self.problem, "error")
        elif not watched:
            say(self.ui.CheckStatusLabel, "")
        elif check.message:
            say(self.ui.CheckStatusLabel, check.message)
        elif check.checking:
            say(self.ui.CheckStatusLabel, "The mask is being checked…")
        else:
            worst = "error" if any(finding.severity == "error" for finding in check.findings) else "info"
            say(self.ui.CheckStatusLabel, checkSummary(check.findings), worst)

    def _onOutline(self, *_: Any) -> None:
        self.problem = ""


def _showWhereEmpty(volume: Any) -> None:
    """Slice views without an image get this one: without any, their sliders reach from -1 to 1 mm only."""
    manager = slicer.app.layoutManager()
    if volume is None or manager is None:
        return
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        if slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "") is None:
            composite.SetBackgroundVolumeID(volume.GetID())
