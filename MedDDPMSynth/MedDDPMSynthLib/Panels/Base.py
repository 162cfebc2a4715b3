"""What all panels share: the context that they work in, and plain words for what goes wrong."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from medddpm.errors import MedDDPMError
from medddpm.jobs.outcome import outcome_of

logger = logging.getLogger(__name__)


class Context:
    """What the panels look at: the logic, the service, the parameter node and the chosen model.

    ``parameters`` is None while a scene is closing. ``model`` is the ``ModelDescription`` of ``parameters.model``, or
    None where it cannot be read; then ``modelProblem`` is the sentence that says why. ``missing``: packages to install.
    """

    def __init__(self, logic: Any) -> None:
        self.logic = logic
        self.service = logic.service
        self.parameters: Any = None
        self.model: Any = None
        self.modelProblem: str | None = None
        self.missing: list[Any] = []
        self._describedKey: str | None = None

    def setParameters(self, parameters: Any) -> None:
        """Look at another parameter node; None while there is no scene."""
        self.parameters = parameters
        self.describeModel()

    def describeModel(self, again: bool = False) -> None:
        """Read the description of the chosen model where the choice has changed, or ``again``."""
        key = self.parameters.model if self.parameters is not None else None
        if key == self._describedKey and not again:
            return
        self._describedKey, self.model, self.modelProblem = key, None, None
        if key is None:
            return
        with plainErrors(self._setProblem):
            self.model = self.service.library.describe(key)

    def _setProblem(self, sentence: str) -> None:
        self.modelProblem = sentence

    @property
    def agreed(self) -> bool:
        """Whether the terms of the chosen model were agreed to, or need not be."""
        return self.model is not None and (
            self.model.permissive or self.service.library.acknowledged(self.parameters.model)
        )

    @property
    def scheme(self) -> Any:
        """The label scheme of the chosen model, or None."""
        return self.model.config.scheme if self.model is not None else None

    @property
    def busyRun(self) -> Any:
        """The generation that is going on, or None."""
        run = self.service.run
        return run if run is not None and run.state.busy else None


class Panel:
    """One section of the module. ``ui`` holds all widgets of the module by name."""

    def __init__(self, ui: Any, context: Context) -> None:
        self.ui = ui
        self.context = context

    def refresh(self) -> None:
        """Show what the parameter node and the model say now; called after every change of them."""

    def tick(self) -> None:
        """Look after what goes on in the background; called a few times a second while the module is shown."""

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


@contextlib.contextmanager
def plainErrors(show: Callable[[str], None]) -> Iterator[None]:
    """Hand errors of the block to ``show`` as a sentence; what was not meant for people also goes to the log."""
    try:
        yield
    except MedDDPMError as error:
        logger.info("Refused: %s", type(error).__name__)
        show(str(error))
    except Exception as error:
        logger.exception("Unexpected error in the panel")
        show(outcome_of(error).message)
