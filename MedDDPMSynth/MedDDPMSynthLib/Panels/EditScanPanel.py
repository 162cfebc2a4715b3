"""Editing a real scan: the volumes that are kept, the mask they belong to, margin and seam."""

from __future__ import annotations

from typing import Any

import slicer
from medddpm.labels.findings import listed
from MedDDPMSlicerLib.Nodes import isShown, removeNode, showInSlices
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import enable, quiet, say
from slicer.i18n import tr as _

from .. import LocalEdit
from ..Options import SynthInputs
from .Context import Context


class EditScanPanel(Panel):
    """One volume selector for each modality of the model."""

    messageLabel = "EditStatusLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self.selectors: dict[str, Any] = {}
        self._shownModel: Any = None
        ui.RememberMaskButton.clicked.connect(self.rememberMask)
        ui.RestoreMaskButton.clicked.connect(self.restoreMask)
        ui.EditRealScanCheckBox.clicked.connect(lambda *_: self._showScan())

    def refresh(self) -> None:
        """Show the chosen volumes and what is still missing."""
        parameters = self.context.parameters
        if self.context.model is not self._shownModel:
            self._makeSelectors()
        chosen = dict(parameters.knownVolumes)
        for name, selector in self.selectors.items():
            with quiet(selector):
                selector.setCurrentNodeID(chosen.get(name, ""))
        self._showStatus(parameters)

    def rememberMask(self) -> None:
        """Take the mask as the one that the real scan shows."""
        with self.told():
            parameters = self.context.parameters
            removeNode(parameters.originalSegmentation)
            parameters.originalSegmentation = LocalEdit.takeSnapshot(parameters.segmentation)
            self._showScan()

    def restoreMask(self) -> None:
        """Bring the remembered mask back; can be undone in the editor."""
        with self.told():
            parameters = self.context.parameters
            self.ui.SegmentEditorWidget.saveStateForUndo()
            LocalEdit.copyMask(parameters.originalSegmentation, parameters.segmentation)

    def _makeSelectors(self) -> None:
        self._shownModel, self.selectors = self.context.model, {}
        form = self.ui.KnownVolumesWidget.layout()
        while form.rowCount():
            form.removeRow(0)
        for name in self.context.model.modalities if self.context.model is not None else ():
            selector = self.selectors[name] = slicer.qMRMLNodeComboBox()
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
            selector.showChildNodeTypes = selector.addEnabled = selector.removeEnabled = False
            selector.noneEnabled = True
            selector.noneDisplay = _("The patient's {name}").format(name=name)
            selector.toolTip = _("The real {name} volume that is kept outside the changed region.").format(name=name)
            selector.setMRMLScene(slicer.mrmlScene)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self._volumesChanged())
            form.addRow(f"{name}:", selector)

    def _volumesChanged(self) -> None:
        ids = {name: selector.currentNodeID for name, selector in self.selectors.items() if selector.currentNodeID}
        if self.context.parameters is not None and ids != dict(self.context.parameters.knownVolumes):
            self.context.parameters.knownVolumes = ids
            self._showScan()

    def _given(self) -> dict[str, Any]:
        """The chosen volumes, by modality."""
        nodes = {name: selector.currentNode() for name, selector in self.selectors.items()}
        return {name: node for name, node in nodes.items() if node is not None}

    def _showScan(self) -> None:
        """Show the scan in the slice views, unless a volume of it is seen already."""
        volumes = [*self._given().values()]
        if volumes and not isShown(volumes):
            showInSlices(volumes[0])

    def _showStatus(self, parameters: Any) -> None:
        noMask = _("Choose a segmentation first (section 2).") if parameters.segmentation is None else None
        enable(self.ui.RememberMaskButton, noMask)
        remembered = parameters.originalSegmentation is not None
        self.ui.RememberedLabel.text = _("Remembered.") if remembered else _("Not yet remembered.")
        enable(self.ui.RestoreMaskButton, noMask or (None if remembered else _("No mask is remembered yet.")))
        missing = self._missing(parameters)
        enable(self.ui.EditRealScanCheckBox, missing if not parameters.editRealScan else None)
        if missing:
            say(self.ui.EditStatusLabel, missing, "warning" if parameters.editRealScan else "info")
        else:
            model = self.context.model
            whole = [name for name in parameters.modalities or model.modalities if name not in self._given()]
            said = _(" Not given, so synthetic throughout: {names}.").format(names=listed(whole)) if whole else ""
            say(self.ui.EditStatusLabel, _("Ready: change the mask, then press Generate.{said}").format(said=said))

    def _missing(self, parameters: Any) -> str | None:
        if self.context.model is None:
            return _("Choose a model first (section 1).")
        if parameters.segmentation is None:
            return _("Choose the mask of the scan first (section 2).")
        inputs = SynthInputs(parameters.segmentation, None, self._given(), parameters.originalSegmentation)
        return LocalEdit.missingForEdit(self.context.model, inputs)
