"""Reading the images of a reader study by mouse or keyboard, and making a study from two folders of images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from medddpm.errors import InputError
from medddpm.options import options_of
from medddpm.studies.reading import HIGHEST_CONFIDENCE, REAL, SYNTHETIC, ReadingRequest
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import enable, say
from slicer.i18n import tr as _

from ..ReaderStudy import ReaderStudy
from .Context import Context

WORDS = {1: _("1 (guess)"), HIGHEST_CONFIDENCE: f"{HIGHEST_CONFIDENCE} (certain)"}
KEYS = {REAL: "R", SYNTHETIC: "S"}


class ReaderPanel(Panel):
    """A section of its own, made in code; the keys count while a study is read and this module is open."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self.study: ReaderStudy | None = None
        self.choice = ""
        self._making: Job | None = None
        self._shortcuts: list[Any] = []
        self.section = ctk.ctkCollapsibleButton()
        self.section.text, self.section.collapsed = _("Reader study"), True
        self.section.objectName = "ReaderSection"
        layout = ui.StorageSection.parent().layout()
        layout.insertWidget(layout.indexOf(ui.StorageSection), self.section)
        form = qt.QFormLayout(self.section)
        self.folder = _pathLine(form, _("Study:"), _("The folder of a reader study: blinded images, read by experts."))
        self.reader = qt.QLineEdit()
        self.reader.placeholderText = "R1"
        self.reader.toolTip = _("A name for the reader, such as R1. Reading goes on where this reader left it.")
        form.addRow(_("Reader:"), self.reader)
        self.startButton = _button(_("Start reading"), _("Show the images one by one; all views show nothing else."))
        self.startButton.clicked.connect(self.onStart)
        form.addRow(self.startButton)
        self.message = qt.QLabel()
        self.message.wordWrap = True
        form.addRow(self.message)
        self._addAnswers(form)
        self._addMaking(form)
        self._update()

    def tick(self) -> None:
        """Keep the reader's place."""
        if self.study is not None:
            self.study.session.owner.touch()

    def exit(self) -> None:
        """Reading pauses with the module."""
        self.pause()
        self.ui.SegmentEditorWidget.uninstallKeyboardShortcuts()

    def sceneClosing(self) -> None:
        """The image goes with its scene."""
        self.pause()

    def cleanup(self) -> None:
        """See Panel."""
        self.pause()
        super().cleanup()

    def sayError(self, text: str) -> None:
        """See Panel."""
        self.problem = text
        say(self.message, text, "error")

    def onStart(self) -> None:
        """Start, or pause."""
        if self.study is not None:
            self.pause()
            return
        with self.told():
            if not self.folder.currentPath:
                raise InputError(_("Choose the folder of a reader study first, or make one below."))
            self.study = ReaderStudy(Path(self.folder.currentPath), self.reader.text)
            self._listen()
            self._next()
            self._reveal()

    def choose(self, answer: str) -> None:
        """Real or synthetic; kept when the confidence is given."""
        self.choice = answer
        self._update()

    def rate(self, confidence: int) -> None:
        """How sure the reader is: the answer is complete."""
        if self.study is None or not self.choice:
            return
        with self.told():
            self.study.answer(self.choice, confidence)
            self._next()

    def back(self) -> None:
        """Take the last answer back."""
        if self.study is not None:
            with self.told():
                self.study.back()
                self._next()

    def pause(self) -> None:
        """Leave the study for now."""
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
        if self.study is not None:
            done, total = len(self.study.session.done), self.study.total
            self.study.close()
            self.study = None
            self.ui.SegmentEditorWidget.installKeyboardShortcuts()
            say(self.message, _("Paused: {done} of {total} images are read.").format(done=done, total=total))
        self._update()

    def onMake(self) -> None:
        """Make a study of the two folders, in the background."""
        with self.told():
            paths = {name: line.currentPath for name, line in self._sources.items()}
            if not all(paths.values()):
                raise InputError(_("Choose the folder of real images, that of synthetic ones, and one for the study."))
            request = ReadingRequest(**paths, modality=self.modality.text.strip() or "T1ce", each=self.each.value)
            say(self.message, _("The study is being made…"))
            job = ("reading", asdict(request))
            self._making = Job(self.context.service.toolsJobs, job, lambda _folder: None, self._made, self.sayError)

    def _made(self, _result: Any) -> None:
        self.folder.currentPath = self._sources["out"].currentPath
        say(self.message, _("The study is made. Keep key.json from the readers: it says which images are real."))

    def _next(self) -> None:
        self.choice = ""
        if self.study is not None and self.study.item is None:
            self.pause()
            say(self.message, _("All images are read. Thank you."))
        self._update()

    def _update(self) -> None:
        study = self.study
        self.startButton.text = _("Pause") if study is not None else _("Start reading")
        self.answers.visible = study is not None
        for answer, button in self.buttons.items():
            button.checked = self.choice == answer
        for button in self.confidence:
            enable(button, None if self.choice else _("Choose first: real or synthetic."))
        if study is not None and study.item is not None:
            place = _("Image {n} of {total}").format(n=study.number, total=study.total)
            say(self.message, f"{place} ({study.item.part})")
            enable(self.backButton, None if study.session.done else _("There is no answer yet."))

    def _reveal(self) -> None:
        """Bring the buttons of the answers into sight."""
        slicer.app.processEvents()  # they are laid out
        area = self.section.parent()
        while area is not None and not hasattr(area, "ensureWidgetVisible"):
            area = area.parent()
        if area is not None:
            area.ensureWidgetVisible(self.backButton)

    def _listen(self) -> None:
        self.ui.SegmentEditorWidget.setActiveEffect(None)
        self.ui.SegmentEditorWidget.uninstallKeyboardShortcuts()  # its keys 1 to 9 choose effects
        keys = {KEYS[answer]: lambda answer=answer: self.choose(answer) for answer in KEYS}
        keys |= {str(n): lambda n=n: self.rate(n) for n in range(1, HIGHEST_CONFIDENCE + 1)}
        for key, action in {**keys, "Backspace": self.back}.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), slicer.util.mainWindow())
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def _addAnswers(self, form: Any) -> None:
        self.answers = qt.QWidget()
        rows = qt.QVBoxLayout(self.answers)
        rows.setContentsMargins(0, 0, 0, 0)
        self.buttons = {
            REAL: _button(_("Real (R)"), _("An image of a patient.")),
            SYNTHETIC: _button(_("Synthetic (S)"), _("An image that a model made.")),
        }
        line = qt.QHBoxLayout()
        for answer, button in self.buttons.items():
            button.checkable = True
            button.clicked.connect(lambda *_args, answer=answer: self.choose(answer))
            line.addWidget(button)
        rows.addLayout(line)
        rows.addWidget(qt.QLabel(_("How sure are you? (keys 1 to 5)")))
        line = qt.QHBoxLayout()
        self.confidence = [_button(WORDS.get(n, str(n)), "") for n in range(1, HIGHEST_CONFIDENCE + 1)]
        for n, button in enumerate(self.confidence, 1):
            button.clicked.connect(lambda *_args, n=n: self.rate(n))
            line.addWidget(button)
        rows.addLayout(line)
        self.backButton = _button(_("Back (Backspace)"), _("Take the last answer back and see its image again."))
        self.backButton.clicked.connect(self.back)
        rows.addWidget(self.backButton)
        form.addRow(self.answers)

    def _addMaking(self, form: Any) -> None:
        box = self.making = ctk.ctkCollapsibleGroupBox()
        box.title, box.collapsed = _("Make a study"), True
        inner = qt.QFormLayout(box)
        helps = {told.name: told.help for told in options_of(ReadingRequest)}
        self._sources = {
            "real": _pathLine(
                inner, _("Real images:"), _("Folder of real images, named as in BraTS (case_t1ce.nii.gz).")
            ),
            "synthetic": _pathLine(inner, _("Synthetic images:"), _("Folder of results of MedDDPM.")),
            "out": _pathLine(inner, _("New folder:"), _("Where the study is made.")),
        }
        self.modality, self.each = qt.QLineEdit("T1ce"), qt.QSpinBox()
        self.each.minimum, self.each.maximum, self.each.value = 1, 500, 20
        self.modality.toolTip, self.each.toolTip = helps["modality"], helps["each"]
        inner.addRow(_("Modality:"), self.modality)
        inner.addRow(_("Images of each kind:"), self.each)
        self.makeButton = _button(_("Make study"), _("Writes blinded copies in a random order, and the key."))
        self.makeButton.clicked.connect(self.onMake)
        inner.addRow(self.makeButton)
        form.addRow(box)


def _button(text: str, tip: str) -> Any:
    button = qt.QPushButton(text)
    button.toolTip = tip
    return button


def _pathLine(form: Any, caption: str, tip: str) -> Any:
    line = ctk.ctkPathLineEdit()
    line.filters = ctk.ctkPathLineEdit.Dirs
    line.toolTip = tip
    form.addRow(caption, line)
    return line
