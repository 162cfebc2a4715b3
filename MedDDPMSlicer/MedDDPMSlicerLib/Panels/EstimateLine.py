"""The line under a choice that tells how long it takes and whether it fits into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .Base import plainErrors
from .Widgets import say

# Ticks without a change before the estimate is asked for: who turns a wheel or types, is not done yet.
REST_TICKS = 4

Show = Callable[[Any], None]
Fail = Callable[[str], None]


class EstimateLine:
    """Asks for an estimate when the choices have rested, and shows it unless they have changed meanwhile.

    ``request(show, fail)`` asks for it: one of both is called later, or an error is raised at once. What is shown has a
    ``sentence`` and says whether it ``fits``. ``waiting`` is shown until it is there.
    """

    def __init__(self, label: Any, request: Callable[[Show, Fail], object], waiting: str = "") -> None:
        self._label, self._request, self._waiting = label, request, waiting
        self._choices: tuple[Any, ...] = ()
        self._askIn = 0
        say(label, "")

    def follow(self, choices: tuple[Any, ...]) -> None:
        """Take the present choices; () where they cannot be estimated. What was told of others goes."""
        if choices != self._choices:
            self._choices, self._askIn = choices, REST_TICKS if choices else 0
            say(self._label, "")

    def tick(self) -> None:
        """Ask when the choices have rested; called a few times a second."""
        if self._askIn > 0:
            self._askIn -= 1
            if self._askIn == 0:
                self._ask()

    def _ask(self) -> None:
        choices = self._choices

        def show(estimate: Any) -> None:
            if choices == self._choices:
                say(self._label, estimate.sentence, "info" if estimate.fits else "error")

        def fail(sentence: str) -> None:
            if choices == self._choices:
                say(
                    self._label,
                    _("Time and memory cannot be estimated: {sentence}").format(sentence=sentence),
                    "warning",
                )

        say(self._label, self._waiting)
        with plainErrors(fail):
            self._request(show, fail)
