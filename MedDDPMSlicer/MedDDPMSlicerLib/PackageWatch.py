"""Which packages are missing, asked many times a second and looked up now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .Dependencies import Use, missingPackages

# Looking for packages touches the disk; they do not come and go more often than this (seconds).
PACKAGE_SECONDS = 5.0


class PackageWatch:
    """Says why something cannot be done without packages. ``missing`` tells which are not installed for a use."""

    def __init__(self, missing: Callable[[Use], Sequence[Any]] = missingPackages) -> None:
        self._missing = missing
        self._looked: dict[Use, tuple[float, str | None]] = {}

    def reason(self, use: Use) -> str | None:
        """The sentence of a button that is disabled; None where all packages of ``use`` are there."""
        looked, answer = self._looked.get(use, (-PACKAGE_SECONDS, None))
        if time.monotonic() - looked > PACKAGE_SECONDS:
            names = [package.name for package in self._missing(use)]
            answer = f"Install the missing packages first: {', '.join(names)}." if names else None
            self._looked[use] = (time.monotonic(), answer)
        return answer

    def lookAgain(self) -> None:
        """Packages were installed: look for them at the next question."""
        self._looked = {}
