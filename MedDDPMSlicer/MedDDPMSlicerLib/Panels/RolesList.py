"""What each segment of a mask shows, for reading and choosing: one row a segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from ..Segments import GUESSED, OPEN, chooseRole, segmentRoles
from .Widgets import clearLayout

NOT_USED, ASK = "", "?"


class RolesList:
    """A collapsible box of rows, made anew only when segments or roles differ; ``onChosen`` is called after a choice.

    It opens by itself where a role was guessed or is not known.
    """

    def __init__(self, onChosen: Callable[[], None]) -> None:
        self.box = ctk.ctkCollapsibleGroupBox()
        self.box.title = _("Segment roles")
        self.box.toolTip = _("What each segment shows. The model gets only segments that have a role.")
        self.box.collapsed = True
        self.choices: dict[str, Any] = {}
        self._form = qt.QGridLayout(self.box)
        self._form.setColumnStretch(1, 1)
        self._onChosen = onChosen
        self._shown: Any = None

    def show(self, segmentationNode: Any, scheme: Any) -> None:
        """Show the roles that the segments have in a label scheme; None for either shows nothing."""
        shown = None
        if segmentationNode is not None and scheme is not None:
            core = segmentationNode.GetSegmentation()
            roles = segmentRoles(segmentationNode, scheme)
            rows = tuple((key, core.GetSegment(key).GetName() or "", role) for key, role in roles.items())
            shown = (segmentationNode.GetID(), scheme, rows)
        if shown == self._shown:
            return
        self._shown, self.choices = shown, {}
        clearLayout(self._form)
        rows = shown[2] if shown is not None else ()
        self.box.visible = bool(rows)
        for number, (key, name, role) in enumerate(rows):
            self._addRow(number, segmentationNode, scheme, key, name, role)
        if any(role.origin in (GUESSED, OPEN) for _, _, role in rows):
            self.box.collapsed = False

    def _addRow(self, number: int, node: Any, scheme: Any, key: str, name: str, role: Any) -> None:
        box = qt.QComboBox()
        box.sizeAdjustPolicy, box.minimumContentsLength = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon, 12
        if role.origin == OPEN:
            box.addItem(_("not known: choose"), ASK)
        for label in scheme.labels:
            guess = " (guessed)" if role.origin == GUESSED and label.value == role.value else ""
            box.addItem(f"{label.name}{guess}", str(label.value))
        box.addItem(_("not used"), NOT_USED)
        chosen = NOT_USED if role.value is None else str(role.value)
        box.currentIndex = box.findData(ASK if role.origin == OPEN else chosen)
        box.toolTip = _("What the segment '{name}' shows, or 'not used' to leave it out.").format(name=name)
        box.activated.connect(lambda *_: self._choose(node, key, scheme, box.currentData))
        self._form.addWidget(qt.QLabel(name), number, 0)
        self._form.addWidget(box, number, 1)
        self.choices[key] = box

    def _choose(self, node: Any, key: str, scheme: Any, data: str) -> None:
        if data == ASK or node.GetScene() is None or node.GetSegmentation().GetSegment(key) is None:
            return
        chooseRole(node, key, scheme, int(data) if data else None)
        self._onChosen()
