"""Following one run: its state, its figures in the charts, its samples in the scene."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from medddpm.training.run import RunFolder
from medddpm.training.summary import RunSummary
from MedDDPMSlicerLib.Background import Observed, SlicedTask

from .History import History
from .LossChart import LossChart
from .SampleFiles import TrainingSample, newestSamples
from .SampleVolumes import REAL, SYNTHETIC, SampleVolumes

logger = logging.getLogger(__name__)

# Between two looks at the figures and at the samples (seconds).
FIGURES_SECONDS, SAMPLES_SECONDS = 1.0, 3.0
# Of metrics.jsonl at one go: some milliseconds.
READ_BYTES = 64 * 1024
# Reading takes at most this share of the time: a slow disk is asked less often.
MAX_SHARE = 0.05
SLICE_SECONDS = 0.02


class RunView(Observed):
    """What is shown of the run ``path``; None while none is followed. Call ``tick`` regularly.

    ``summary`` is its state, ``history`` its figures, ``chart`` the nodes that show them, ``samples`` its newest
    samples and ``showSamples`` whether they come into the scene.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.path: Path | None = None
        self.summary: RunSummary | None = None
        self.history = History()
        self.chart = LossChart()
        self.samples: list[TrainingSample] = []
        self._clock = clock
        self._showSamples = True
        self._offset = 0
        self._shown = -1
        self._volumes: SampleVolumes | None = None
        self._reading: Any = None
        self._loading: Any = None
        self._nextFigures = self._nextSamples = self._spent = 0.0

    @property
    def showSamples(self) -> bool:
        """Whether the samples come into the scene."""
        return self._showSamples

    @showSamples.setter
    def showSamples(self, wanted: bool) -> None:
        if wanted == self._showSamples:
            return
        self._showSamples = wanted
        self._nextSamples = 0.0
        if not wanted:
            self._dropSamples()
        self.changed()

    def observe(self, path: str | Path | None) -> None:
        """Follow another run, or None."""
        wanted = Path(path) if path else None
        if wanted == self.path:
            return
        self.release()
        self.path = wanted
        self.changed()

    def release(self) -> None:
        """Follow no run, and take out of the scene what was shown of it."""
        self._dropSamples()
        self._stopReading()
        self.chart.remove()
        self.path = self.summary = None
        self.history, self._offset, self._shown, self.samples = History(), 0, -1, []
        self._nextFigures = self._nextSamples = 0.0
        self.changed()

    def sceneClosed(self) -> None:
        """The nodes are gone with their scene: they are made anew where a run is followed on."""
        self._stopReading()
        self._stopLoading()
        self.chart, self._volumes, self._shown = LossChart(), None, -1
        self._nextFigures = self._nextSamples = 0.0

    def volume(self, case: str, kind: str, modality: str) -> Any:
        """The node of a sample (see ``SampleVolumes.volume``), or None."""
        return self._volumes.volume(case, kind, modality) if self._volumes is not None else None

    @property
    def tumorValues(self) -> tuple[int, ...]:
        """The values of the tumor in the masks of the samples; none where the dataset is not known here."""
        return self._volumes.tumorValues if self._volumes is not None else ()

    def pair(self, case: str = "", modality: str = "") -> tuple[Any, Any] | None:
        """The real and the synthetic volume of a sample, by default of the first; None where one is not there (yet)."""
        sample = next((s for s in self.samples if s.case == case), next(iter(self.samples), None))
        if sample is None:
            return None
        wanted = modality if modality in sample.synthetic else sample.modalities[0]
        nodes = tuple(self.volume(sample.case, kind, wanted) for kind in (REAL, SYNTHETIC))
        return (nodes[0], nodes[1]) if None not in nodes else None

    def tick(self) -> None:
        """Read what is new; takes milliseconds."""
        if self.path is not None:
            now = self._clock()
            if now >= self._nextFigures and self._reading is None:
                self._spent = 0.0
                self._reading = SlicedTask(self._readFigures(RunFolder(self.path)), lambda _: None, _logFailure)
            self._readSome()
            if now >= self._nextSamples and self._loading is None:
                self._nextSamples = now + SAMPLES_SECONDS
                self._lookForSamples(RunFolder(self.path))
            self._loadSome()
        self.notify()

    def _readSome(self) -> None:
        if self._reading is None:
            return
        began = self._clock()
        self._reading.step(SLICE_SECONDS)
        self._spent += self._clock() - began
        if self._reading.finished:
            self._reading = None
            self._nextFigures = self._clock() + max(FIGURES_SECONDS, self._spent / MAX_SHARE)

    def _readFigures(self, run: RunFolder) -> Generator[None, None, None]:
        """Steps that take in the new figures and show them."""
        more = True
        while more:
            before = self._offset
            metrics, self._offset = run.metrics.read(before, READ_BYTES)
            if self._offset < before:  # the file was made anew
                self.history, self._shown = History(), -1
            self.history.add(metrics)
            more = self._offset - before > READ_BYTES // 2
            yield
        summary = run.summary()
        if summary != self.summary:
            self.summary = summary
            self.changed()
        if self._shown != self._offset:
            yield
            yield from self.chart.show(self.history, summary.name)
            self._shown = self._offset
            self.changed()

    def _lookForSamples(self, run: RunFolder) -> None:
        samples = newestSamples(run)
        if samples != self.samples:
            self.samples = samples
            self.changed()
        if not samples or not self._showSamples:
            return
        if self._volumes is None:
            summary = self.summary or run.summary()
            self._volumes = SampleVolumes(run.path, summary.name, summary.dataset)
        self._loading = SlicedTask(self._volumes.update(samples), self._loaded, _logFailure)

    def _loadSome(self) -> None:
        if self._loading is not None:
            self._loading.step(SLICE_SECONDS)
            if self._loading.finished:
                self._loading = None

    def _loaded(self, news: bool) -> None:
        if news:
            self.changed()

    def _stopReading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stopLoading(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            self._loading = None

    def _dropSamples(self) -> None:
        self._stopLoading()
        if self._volumes is not None:
            self._volumes.remove()
            self._volumes = None


def _logFailure(error: Exception) -> None:
    logger.warning("figures or samples could not be shown: %s", type(error).__name__)
