"""The list of what the mask check found: icon, sentence, fix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from MedDDPMSlicerLib.Panels.Widgets import clearLayout, iconLabel
from slicer.i18n import tr as _

# More rows than this would push the Generate button out of sight.
MAX_ROWS = 8
_ORDER = {"error": 0, "warning": 1, "info": 2}


class FindingsList:
    """Rows in a layout, made anew only when the findings differ."""

    def __init__(self, layout: Any, onFix: Callable[[Any], None]) -> None:
        self.layout = layout
        self.onFix = onFix
        self.buttons: list[Any] = []
        self._shown: tuple[Any, ...] = ()

    def show(self, findings: Sequence[Any]) -> None:
        """Show the findings, errors first."""
        wanted = tuple(sorted(findings, key=lambda finding: _ORDER.get(finding.severity, 3)))
        if wanted == self._shown:
            return
        self._shown, self.buttons = wanted, []
        clearLayout(self.layout)
        for finding in wanted[:MAX_ROWS]:
            self.layout.addWidget(self._row(finding))
        if len(wanted) > MAX_ROWS:
            self.layout.addWidget(qt.QLabel(_("… and {value} more").format(value=len(wanted) - MAX_ROWS)))

    def enable(self, reason: str | None) -> None:
        """Enable the fix buttons, or disable them with a reason."""
        for button, tip in self.buttons:
            button.enabled = reason is None
            button.toolTip = tip if reason is None else reason

    def _row(self, finding: Any) -> Any:
        row = qt.QWidget()
        layout = qt.QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(iconLabel(finding.severity))
        text = qt.QLabel(finding.sentence if finding.fixable else f"{finding.sentence} {finding.fix}".strip())
        text.wordWrap = True
        layout.addWidget(text, 1)
        if finding.fixable:
            layout.addWidget(self._fixButton(finding))
        return row

    def _fixButton(self, finding: Any) -> Any:
        button = qt.QPushButton(_("Fix"))
        tip = _("{fix} Can be undone in the editor.").format(fix=finding.fix).strip()
        button.toolTip = tip
        button.clicked.connect(lambda *_: self.onFix(finding))
        button.sizePolicy = qt.QSizePolicy(qt.QSizePolicy.Fixed, qt.QSizePolicy.Fixed)
        self.buttons.append((button, tip))
        return button
