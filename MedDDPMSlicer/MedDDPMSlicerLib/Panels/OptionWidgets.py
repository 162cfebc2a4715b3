"""Widgets for options of the core: what they are called, may be and mean comes from the fields of the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ctk
import qt
from medddpm.options import Option
from slicer.i18n import tr as _

from ..RequestOptions import defaultOf, isOptional, parameterName, rangeOf, shownOptions
from .Widgets import fillComboBox, quiet

LEFT_OPEN, HERE = _("As the model suggests"), _("This computer")


def describe(ui: Any, request: type) -> None:
    """Give the widgets of a .ui file that are bound to options of a request, and their captions, the help of these."""
    helps = {parameterName(told.name): told.help for told in shownOptions(request)}
    for name, widget in list(vars(ui).items()):
        said = helps.get(widget.property("SlicerParameterName"))
        for one in (widget, getattr(ui, f"{name}Caption", None)) if said else ():
            if one is not None:
                one.toolTip = said


class OptionWidgets:
    """A row of a form for each option. ``changed(name, value)`` is called when the user changes a parameter.

    ``leftOpen``: what is shown of one that is left out.
    """

    def __init__(
        self, form: Any, options: Iterable[Option], changed: Callable[[str, Any], None], leftOpen: str = LEFT_OPEN
    ) -> None:
        self.widgets: dict[str, Any] = {}
        self._changed, self._leftOpen = changed, leftOpen
        for told in options:
            name = parameterName(told.name)
            widget = self.widgets[name] = self._make(told, name)
            widget.objectName = f"{name[0].upper()}{name[1:]}Option"
            widget.toolTip = told.help
            if told.kind is bool:
                form.addRow(widget)
            else:
                caption = qt.QLabel(f"{told.label}:")
                caption.toolTip = told.help
                form.addRow(caption, widget)

    def show(self, parameterNode: Any) -> None:
        """Show what the parameter node says, without telling of a change."""
        for name, widget in self.widgets.items():
            value = getattr(parameterNode, name)
            with quiet(widget):
                if isinstance(widget, qt.QComboBox):
                    if value and widget.findData(value) < 0:  # of a script, such as cuda:1
                        widget.addItem(value, value)
                    widget.currentIndex = max(0, widget.findData(value))
                elif isinstance(widget, qt.QLineEdit):
                    widget.text = value
                elif isinstance(widget, qt.QCheckBox):
                    widget.checked = value
                else:
                    widget.value = value

    def _make(self, told: Option, name: str) -> Any:
        if told.choices:
            box = qt.QComboBox()
            box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon  # long titles widen no panel
            box.minimumContentsLength = 12
            items = [(self._leftOpen, "")] if isOptional(told) else []
            fillComboBox(box, items + [(title, value) for value, title in told.titles.items()], defaultOf(told))
            box.activated.connect(lambda index: self._changed(name, box.itemData(index)))
            return box
        if told.kind is str:
            line = qt.QLineEdit()
            line.placeholderText = HERE
            line.editingFinished.connect(lambda: self._changed(name, line.text.strip()))
            return line
        if told.kind is bool:
            check = qt.QCheckBox(told.label)
            check.toggled.connect(lambda on: self._changed(name, on))
            return check
        low, high = rangeOf(told)
        number = qt.QSpinBox() if told.kind is int else ctk.ctkSliderWidget()
        number.minimum, number.maximum = low, high
        number.suffix = f" {told.unit}" if told.unit else ""
        if told.kind is int:
            number.specialValueText = self._leftOpen if isOptional(told) else ""
        else:
            number.singleStep = number.pageStep = 10 ** (-2 if high - low <= 1 else -1)
        number.value = defaultOf(told)
        number.connect(f"valueChanged({'int' if told.kind is int else 'double'})", lambda v: self._changed(name, v))
        return number
