"""Following one run: its state, its figures in the charts, its samples in the scene."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from medddpm.training.run import RunFolder, RunSummary
from MedDDPMSlicerLib.Background import Observed

from .Charts import Charts, Figures
from .Runs import Rounds
from .Samples import REAL, SYNTHETIC, SampleVolumes, TrainingSample, newestSamples

# Between two looks at the figures and at the samples (seconds).
FIGURES_SECONDS, SAMPLES_SECONDS = 1.0, 3.0
# Of metrics.jsonl at one go: some milliseconds.
READ_BYTES = 64 * 1024


class RunView(Observed):
    """What is shown of the run ``path``; None while none is followed. Call ``tick`` regularly.

    ``summary`` is its state, ``figures`` what ``charts`` show, ``samples`` its newest samples, ``volumes`` their nodes
    (None where ``showSamples`` is off, or there are none yet).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.path: Path | None = None
        self.summary: RunSummary | None = None
        self.figures, self.charts = Figures(), Charts()
        self.samples: list[TrainingSample] = []
        self.volumes: SampleVolumes | None = None
        self.showSamples = True
        self._rounds = Rounds(self._lookAtFigures, FIGURES_SECONDS, clock)
        self._sampleRounds = Rounds(self._lookAtSamples, SAMPLES_SECONDS, clock)
        self._offset, self.shown = 0, -1

    def observe(self, path: str | Path | None) -> None:
        """Follow another run, or None."""
        wanted = Path(path) if path else None
        if wanted != self.path:
            self.release()
            self.path = wanted

    def release(self) -> None:
        """Follow no run, and take out of the scene what was shown of it."""
        self._rounds.again()
        self._sampleRounds.again()
        self._dropSamples()
        self.charts.remove()
        self.path = self.summary = None
        self.figures, self._offset, self.shown, self.samples = Figures(), 0, -1, []
        self.changed()

    def sceneClosed(self) -> None:
        """The nodes are gone with their scene: they are made anew where a run is followed on."""
        self._rounds.again()
        self._sampleRounds.again()
        self.charts, self.volumes, self.shown = Charts(), None, -1

    def sample(self, case: str) -> TrainingSample | None:
        """The newest sample of a case, else of the first one; None without samples."""
        return next((s for s in self.samples if s.case == case), self.samples[0] if self.samples else None)

    def pair(self, case: str = "", modality: str = "") -> tuple[Any, Any] | None:
        """The real and the synthetic volume of ``sample(case)``; None where one is not there (yet)."""
        sample = self.sample(case)
        if sample is None or self.volumes is None:
            return None
        wanted = modality if modality in sample.modalities else sample.modalities[0]
        real, synthetic = (self.volumes.volume(sample.case, kind, wanted) for kind in (REAL, SYNTHETIC))
        return None if real is None or synthetic is None else (real, synthetic)

    def tick(self) -> None:
        """Read what is new; takes milliseconds."""
        if not self.showSamples:
            self._dropSamples()
        if self.path is not None:
            self._rounds.tick()
            self._sampleRounds.tick()
        self.notify()

    def _lookAtFigures(self) -> Generator[None, None, None]:
        """Steps that take in the new figures, and show them."""
        assert self.path is not None
        run = RunFolder(self.path)
        yield from self._read(run)
        summary = run.summary()
        if summary != self.summary:
            self.summary = summary
            self.changed()
        yield
        if self.shown != self._offset:
            yield from self.charts.show(self.figures, summary.name)
            self.shown = self._offset
            self.changed()

    def _lookAtSamples(self) -> Generator[None, None, None]:
        """Steps that load the samples that are new."""
        assert self.path is not None
        run = RunFolder(self.path)
        samples = newestSamples(run)
        if samples != self.samples:
            self.samples = samples
            self.changed()
        yield
        if samples and self.showSamples:
            if self.volumes is None:
                summary = self.summary or run.summary()
                self.volumes = SampleVolumes(run.path, summary.name, summary.dataset)
            if (yield from self.volumes.update(samples)):
                self.changed()

    def _read(self, run: RunFolder) -> Generator[None, None, None]:
        more = True
        while more:
            before = self._offset
            metrics, self._offset = run.metrics.read(before, READ_BYTES)
            if self._offset < before:  # the file was made anew
                self.figures, self.shown = Figures(), -1
            self.figures.add(metrics)
            more = self._offset - before > READ_BYTES // 2
            yield

    def _dropSamples(self) -> None:
        if self.volumes is not None:
            self._sampleRounds.again()
            self.volumes.remove()
            self.volumes = None
            self.changed()
