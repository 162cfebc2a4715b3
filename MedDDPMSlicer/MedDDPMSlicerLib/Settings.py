"""Where the module remembers a user's choices between sessions."""

from __future__ import annotations

import json
from typing import Any, Protocol

PREFIX = "MedDDPM/"


class Settings(Protocol):
    """A store of texts by name."""

    def read(self, name: str) -> str:
        """The text; empty where there is none."""
        ...

    def write(self, name: str, text: str) -> None:
        """Keep the text."""
        ...


class MemorySettings:
    """Settings that end with the process: for tests and scripts without the application."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def read(self, name: str) -> str:
        """See Settings."""
        return self._texts.get(name, "")

    def write(self, name: str, text: str) -> None:
        """See Settings."""
        self._texts[name] = text


class ApplicationSettings:
    """Settings of the user in the application (a QSettings, for example ``slicer.app.userSettings()``)."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def read(self, name: str) -> str:
        """See Settings."""
        value = self._store.value(PREFIX + name)
        return value if isinstance(value, str) else ""

    def write(self, name: str, text: str) -> None:
        """See Settings."""
        self._store.setValue(PREFIX + name, text)


def defaultSettings() -> Settings:
    """The application's settings; in memory where there is no application."""
    import slicer

    userSettings = getattr(getattr(slicer, "app", None), "userSettings", None)
    return ApplicationSettings(userSettings()) if callable(userSettings) else MemorySettings()


def readList(settings: Settings, name: str) -> list[str]:
    """A remembered list of texts; whatever else is there counts as empty."""
    try:
        found = json.loads(settings.read(name) or "[]")
    except ValueError:
        return []
    return [entry for entry in found if isinstance(entry, str)] if isinstance(found, list) else []


def writeList(settings: Settings, name: str, entries: list[str]) -> None:
    """Remember a list of texts."""
    settings.write(name, json.dumps(entries))
