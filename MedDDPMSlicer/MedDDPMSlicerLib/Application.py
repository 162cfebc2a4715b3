"""What modules are told of the application's begin and end."""

from __future__ import annotations

from collections.abc import Callable

import slicer


def followApplication(module: str, onStarted: Callable[[], None], onQuitting: Callable[[], None]) -> None:
    """Have ``onStarted`` called when the application has started up, ``onQuitting`` when it quits.

    Call it when ``module`` is loaded, so before any panel is made: then quitting is noticed before the panel's cleanup,
    which would take it for a reload.
    """

    def onModuleUnloading(name: str) -> None:
        if name == module:  # modules are unloaded only when the application quits
            onQuitting()

    slicer.app.connect("startupCompleted()", onStarted)
    slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", onModuleUnloading)
