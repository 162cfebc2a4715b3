"""What all panels share: their life cycle, and plain words for what goes wrong."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import slicer
from medddpm.errors import MedDDPMError
from slicer.i18n import tr as _

from ..Dependencies import GENERATING
from ..Texts import sentenceOf
from .Widgets import DetailsDialog, say

logger = logging.getLogger(__name__)


class PanelContext:
    """What the panels of one module share: its logic and service, and the parameter node of the scene.

    ``parameters`` is None while a scene is closing. ``use``: what the module needs packages for; ``missing``: those to
    install. ``refresh`` refreshes all panels, for what no parameter tells of.
    """

    use = GENERATING

    def __init__(self, logic: Any, refresh: Callable[[], object]) -> None:
        self.logic, self.refresh = logic, refresh
        self.service = logic.service
        self.parameters: Any = None
        self.missing: list[Any] = []

    def set(self, name: str, value: Any) -> None:
        """Take another choice of the user."""
        if self.parameters is not None and getattr(self.parameters, name) != value:
            setattr(self.parameters, name, value)

    def update(self) -> None:
        """Read anew what follows from the parameter node; called before the panels are refreshed."""

    def maySend(self) -> bool:
        """Whether the computer that is to compute may get what is sent to it; asked once for each."""
        host, library = self.parameters.on, self.service.library
        if host and not library.sendsTo(host):
            question = _(
                "Masks and images (of a training: its dataset) will be sent to the computer '{host}' by OpenSSH, and "
                "deleted there when the work has ended. Send patient data only where you may. Send to this computer "
                "from now on?"
            ).format(host=host)
            if not slicer.util.confirmOkCancelDisplay(question, _("Send images to another computer")):
                return False
            library.allowSending(host)
        return True

    def remembered(self) -> list[tuple[str, str]]:
        """(key, title) of what is remembered for the user, for the panel of the storage."""
        raise NotImplementedError

    def forget(self, key: str) -> None:
        """Remember an entry no more."""
        raise NotImplementedError


class Panel:
    """One section of a module. ``ui`` holds all widgets of the module by name, ``context`` is what its panels share.

    ``problem``: the sentence of what went wrong last; empty without. It is shown in the label ``messageLabel``, if any.
    """

    problem = messageLabel = ""
    _details: DetailsDialog | None = None

    def __init__(self, ui: Any, context: PanelContext) -> None:
        self.ui = ui
        self.context: Any = context

    def refresh(self) -> None:
        """Show what the parameter node and the context say now; called after every change of them."""

    def tick(self) -> None:
        """Look after what goes on in the background; called a few times a second while the module is shown."""

    def told(self) -> contextlib.AbstractContextManager[None]:
        """What was said before is over; an error of the block becomes ``problem``."""
        self.problem = ""
        return plainErrors(self.sayError)

    def sayError(self, text: str) -> None:
        """Tell what went wrong."""
        self.problem = text
        if self.messageLabel:
            say(getattr(self.ui, self.messageLabel), text, "error")

    def sceneChanged(self) -> None:
        """Nodes came or went; do the work in the next ``tick``."""

    def enter(self) -> None:
        """The module was opened."""

    def exit(self) -> None:
        """Another module was opened."""

    def sceneClosing(self) -> None:
        """Let go of all nodes."""

    def cleanup(self) -> None:
        """The module is about to be unloaded or reloaded."""
        if self._details is not None:
            self._details.dialog.hide()
            self._details.dialog.deleteLater()

    def showLog(self, title: str, text: str) -> None:
        """Show a log in a window."""
        self._details = self._details or DetailsDialog(slicer.util.mainWindow())
        self._details.show(title, text)


@contextlib.contextmanager
def plainErrors(show: Callable[[str], None]) -> Iterator[None]:
    """Hand errors of the block to ``show`` as a sentence; what was not meant for people also goes to the log."""
    try:
        yield
    except MedDDPMError as error:
        logger.info("Refused: %s", type(error).__name__)
        show(sentenceOf(error))
    except Exception as error:
        logger.exception("Unexpected error in the panel")
        show(sentenceOf(error))
