"""Job folders of results that are in the scene: kept until these are saved, for the case that Slicer crashes."""

from __future__ import annotations

import logging
import time
from typing import Any

from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Display import NodeList

from .Results import discardJob
from .State import Outcome
from .Watch import Clock

logger = logging.getLogger(__name__)

# The scene tells nobody that it was saved, so its volumes are asked every few seconds.
ASK_SECONDS = 2.0


class Retention:
    """Deletes the job folder of a finished run once its volumes are saved or discarded, or their scene is closed."""

    def __init__(self, jobs: Any, clock: Clock = time.monotonic) -> None:
        self._jobs, self._clock = jobs, clock
        self._volumes: dict[str, NodeList] = {}
        self._seen: set[str] = set()
        self._asked = clock()

    def watch(self, run: Any) -> None:
        """Look after the job folder of a run that is done; asking again does no harm."""
        if run.outcome is Outcome.DONE and run.jobName not in self._seen:
            self._seen.add(run.jobName)
            self._volumes[run.jobName] = NodeList(run.volumes)

    def tick(self) -> None:
        """Delete one folder that is no longer needed, if there is one."""
        if self._clock() - self._asked < ASK_SECONDS:
            return
        self._asked = self._clock()
        for name, volumes in self._volumes.items():
            if all(_isSaved(volume) for volume in volumes.inScene()):
                self._drop(name)
                return

    def dropAll(self) -> None:
        """The scene goes: so do the folders of what was in it."""
        for name in list(self._volumes):
            self._drop(name)

    def _drop(self, name: str) -> None:
        del self._volumes[name]
        try:
            discardJob(self._jobs, name)
        except MedDDPMError as exc:
            logger.warning("a job folder stays: %s", type(exc.__cause__).__name__)


def _isSaved(volumeNode: Any) -> bool:
    """Whether a volume is in a file as it is now."""
    storage = volumeNode.GetStorageNode()
    return storage is not None and bool(storage.GetFileName()) and not volumeNode.GetModifiedSinceRead()
