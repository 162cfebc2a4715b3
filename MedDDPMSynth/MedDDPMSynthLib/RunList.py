"""The generations of a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .Run import SynthRun

# Finished ones that are still known, for those who look at them.
MAX_FINISHED = 5


class RunList:
    """All generations that go on, and the last ones that ended."""

    def __init__(self) -> None:
        self._runs: list[SynthRun] = []

    def __iter__(self) -> Iterator[SynthRun]:
        return iter(list(self._runs))

    def add(self, run: SynthRun) -> None:
        """A new one. Where the user started it, automatic ones of the same segmentation make way."""
        finished = [known for known in self._runs if known.finished]
        for known in finished[:-MAX_FINISHED]:
            self._runs.remove(known)
        if not run.automatic:
            for known in self.activeOf(run.inputs.segmentation, automatic=True):
                known.cancel()
        self._runs.append(run)

    def activeOf(self, segmentationNode: Any, automatic: bool = False) -> list[SynthRun]:
        """Those of a segmentation that have not ended: started by the user, or automatic ones."""
        return [
            run
            for run in self._runs
            if not run.finished and run.automatic == automatic and run.inputs.segmentation is segmentationNode
        ]

    def unsettled(self) -> list[SynthRun]:
        """Those that still need to be ticked."""
        return [run for run in self._runs if not run.settled]
