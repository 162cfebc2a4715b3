"""The effect MedDDPM in the Segment Editor: its life, parameters and buttons. ``EditActions`` does the work."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import qt
import slicer
from medddpm.errors import InputError
from medddpm.masks.stack import tumor_roles
from MedDDPMSlicerLib.Background import PollTimer, SlicedTask
from MedDDPMSlicerLib.Panels.Base import plainErrors
from MedDDPMSlicerLib.SegmentVoxels import contentStamp
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

from . import Options
from .EditActions import EditActions
from .Generation import MODULE_MISSING, Generation, blockedView, synthModule
from .Ghost import SliceOverlays
from .Lesions import Steps
from .Mouse import Mouse, showGhost
from .OptionsFrame import HELP, OptionsFrame

REFRESH_MS = 300
SLICE_WIDGET = "qMRMLSliceWidget"


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """Places lesions by a click, drags and reshapes tumors, and generates MRI from the mask."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = "MedDDPM"  # not translated: scripts find the effect by its name
        scriptedEffect.title = _("MedDDPM")
        scriptedEffect.perSegment = False
        scriptedEffect.requireSegments = True
        scriptedEffect.showEffectCursorInThreeDView = False
        super().__init__(scriptedEffect)
        self.overlays = SliceOverlays(scriptedEffect)
        self.mouse = Mouse(self, self.overlays)
        self.actions = EditActions(
            self.parameter,
            scriptedEffect.setParameter,
            lambda: self.segmentationNode,
            lambda: synth.parameterNode() if (synth := synthModule()) is not None else None,
            scriptedEffect.saveStateForUndo,
        )
        self.frame: OptionsFrame | None = None
        self._done: tuple[Any, ...] = ()
        self._timer: PollTimer | None = None
        self._worker: PollTimer | None = None
        self._working: SlicedTask | None = None

    # What the Segment Editor asks for

    def clone(self) -> Any:
        """A new effect of this kind."""
        from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

        cloned = qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(Path(__file__).as_posix())
        return cloned

    def icon(self) -> Any:
        """The icon of the effect's button."""
        path = Path(__file__).with_suffix(".png")
        return qt.QIcon(str(path)) if path.exists() else qt.QIcon()

    def helpText(self) -> str:
        """What the effect does, as rich text."""
        return HELP

    def setMRMLDefaults(self) -> None:
        """Parameters of a new segment editor node."""
        for name, value in Options.DEFAULTS.items():
            self.scriptedEffect.setParameterDefault(name, value)

    def setupOptionsFrame(self) -> None:
        """Make the widgets."""
        actions = {
            "newShape": self.onNewShape,
            "apply": lambda: self._do(self.actions.apply()),
            "reset": self.onReset,
            "mirror": lambda: self._do(self.actions.mirror()),
            "generate": self.onGenerate,
            "roles": self.onRoles,
        }
        self.frame = OptionsFrame(self.updateMRMLFromGUI, actions)
        self.scriptedEffect.addOptionsWidget(self.frame.widget)

    def activate(self) -> None:
        """The effect was chosen."""
        self.frame.say("")
        self._timer = self._timer or PollTimer(self.updateGeneration, REFRESH_MS)
        self._timer.start()
        self.updateGeneration()

    def deactivate(self) -> None:
        """Another effect was chosen."""
        if self._timer is not None:
            self._timer.stop()
        if self._working is not None:
            self._working.cancel()
        self._endWork()
        self.mouse.cancel()
        self.overlays.remove()
        self.actions.forget()

    def cleanup(self) -> None:
        """Leave nothing behind that would call into deleted objects."""
        self.deactivate()
        if self.frame is not None:
            self.frame.cleanup()
        self._timer = self._worker = None

    def createCursor(self, viewWidget: Any) -> Any:
        """A cross, so that the point of a click is clear."""
        return qt.QCursor(qt.Qt.CrossCursor)

    def updateGUIFromMRML(self) -> None:
        """Show the parameters, and what the mask's labels allow."""
        self.frame.show(self.parameter)
        self._describeMask()
        self.showChange()

    def updateMRMLFromGUI(self) -> None:
        """Keep what the user has set, after which what was said before is of no use."""
        self.frame.say("")
        for name, value in self.frame.values().items():
            if value != self.parameter(name):
                self.scriptedEffect.setParameter(name, value)

    def processInteractionEvents(self, callerInteractor: Any, eventId: int, viewWidget: Any) -> bool:
        """Mouse and keyboard over a view; returns whether nobody else is to see the event."""
        if viewWidget.className() != SLICE_WIDGET:
            return False
        return self.mouse.handle(callerInteractor, eventId, viewWidget)

    def processViewNodeEvents(self, callerViewNode: Any, eventId: int, viewWidget: Any) -> None:
        """A slice view was scrolled, zoomed or resized."""
        if viewWidget.className() == SLICE_WIDGET and self.tool == Options.MOVE and not self.mouse.dragging:
            self.showChange()

    # What the mouse asks for

    @property
    def tool(self) -> str:
        """Which page is open: ``Options.PLACE`` or ``Options.MOVE``."""
        return self.parameter("Tool")

    @property
    def working(self) -> bool:
        """Whether a change of the mask is being computed."""
        return self._working is not None

    def diameter(self) -> float:
        """Diameter (mm) of the next lesion."""
        return Options.valueOf(self.parameter, "Diameter")

    def scaleDiameter(self, factor: float) -> None:
        """Make the next lesion larger or smaller, within the limits of the widget."""
        self.actions.scaleDiameter(factor)

    def place(self, point: Options.Point) -> None:
        """Place a lesion at a point (RAS mm, world)."""
        self._do(self.actions.place(point))

    def ghostToDrag(self, point: Options.Point) -> Any:
        """The tumor at a point; None, after saying so, where there is none."""
        if self._working is None:
            self.frame.say("")
            with plainErrors(self._sayError):
                return self.actions.ghostAt(point)
        return None

    def pick(self, point: Options.Point) -> None:
        """A tumor was clicked."""
        self.actions.pick(point)
        self.frame.say(_("Lesion chosen."))
        self.showChange()

    def drop(self, start: Options.Point, motion: Options.Motion) -> None:
        """The tumor at ``start`` was dragged by ``motion``."""
        self._do(self.actions.drop(start, motion))

    def showChange(self) -> None:
        """Show in the slice views what Apply would do."""
        change = None
        if self.tool == Options.MOVE and not self.mouse.dragging:
            with plainErrors(self._sayError):
                change = self.actions.ghostOfChange()
        if change is None:
            self.overlays.hideAll()
            return
        for viewWidget in self.overlays.views():
            showGhost(self.overlays, viewWidget, *change)

    # Buttons

    def onNewShape(self) -> None:
        """Another shape for the next lesion."""
        self.actions.newShape()
        self.frame.show(self.parameter)

    def onReset(self) -> None:
        """Put all values of a change back."""
        self.frame.say("")
        with slicer.util.NodeModify(self.scriptedEffect.parameterSetNode()):
            self.actions.reset()

    def onGenerate(self) -> None:
        """Start a generation, or cancel it."""
        with plainErrors(self._sayError):
            synth = synthModule()
            if synth is None:
                raise InputError(MODULE_MISSING)
            Generation(synth.service, synth.parameterNode()).press(self.segmentationNode)
        self.updateGeneration()

    def onRoles(self) -> None:
        """The role of a segment was chosen."""
        self.actions.forget()
        synth = synthModule()
        if synth is not None:
            synth.service.check.touch()
        self._describeMask()

    def updateGeneration(self) -> None:
        """Show how it stands with the generation, and say no more of a mask that has changed or is undone."""
        if not self.working and self.segmentationNode is not None and contentStamp(self.segmentationNode) != self._done:
            self._done = contentStamp(self.segmentationNode)
            self.frame.say("")
        synth = synthModule()
        if synth is None:
            self.frame.showGeneration(blockedView(MODULE_MISSING))
            return
        with plainErrors(lambda text: self.frame.showGeneration(blockedView(text))):
            generation = Generation(synth.service, synth.parameterNode())
            self.frame.showGeneration(generation.view(self.segmentationNode))

    # Small things

    def parameter(self, name: str) -> str:
        """A parameter of the effect as text."""
        return self.scriptedEffect.parameter(name)

    @property
    def segmentationNode(self) -> Any:
        """The segmentation that is edited; None where none is chosen."""
        node = self.scriptedEffect.parameterSetNode()
        return node.GetSegmentationNode() if node is not None else None

    def _do(self, steps: Steps) -> None:
        """Run an action with the wait cursor while the application goes on, and say how it ended; one at a time."""
        if self._working is not None:
            return
        self.frame.say(_("Working..."))
        qt.QApplication.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
        self._working = SlicedTask(steps, lambda outcome: self.frame.say(outcome.message), self._failed)
        self._worker = self._worker or PollTimer(self._work, 0)
        self._worker.start()

    def _work(self) -> None:
        # Several parameters change, of which the editor is to hear once.
        with slicer.util.NodeModify(self.scriptedEffect.parameterSetNode()):
            self._working.tick()
        if self._working.finished:
            self._endWork()
            self._done = contentStamp(self.segmentationNode) if self.segmentationNode is not None else ()
            self.frame.show(self.parameter)
            self.showChange()

    def _failed(self, error: Exception) -> None:
        with plainErrors(self._sayError):
            raise error

    def _endWork(self) -> None:
        if self._working is not None:
            self._working = None
            self._worker.stop()
            qt.QApplication.restoreOverrideCursor()

    def _sayError(self, text: str) -> None:
        self.frame.say(text, "error")

    def _describeMask(self) -> None:
        """Let the page for new lesions offer what the labels of the mask have."""
        node, scheme = self.segmentationNode, None
        with contextlib.suppress(InputError):
            if node is not None:
                scheme = self.actions.knownScheme()
                self.frame.setParts(set(tumor_roles(scheme)))
        self.frame.roles.show(node, scheme)
