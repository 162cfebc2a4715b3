"""A new preview when the mask has changed and the hand rests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from medddpm.errors import MedDDPMError
from medddpm.jobs.events import State
from medddpm.synthesis.request import UNVERIFIED
from MedDDPMSlicerLib.Texts import sentenceOf

from .Options import Quality, SynthInputs, SynthOptions, samplerAndSteps
from .Results import discardSample, samplesOf
from .Watch import Clock, SegmentationWatch

logger = logging.getLogger(__name__)

QUIET_SECONDS = 1.5

Start = Callable[[SynthInputs, SynthOptions], Any]
Ask = Callable[[], "tuple[SynthInputs, SynthOptions] | None"]


class AutoUpdate:
    """Starts automatic generations of the lowest quality, one at a time.

    ``start(inputs, options)`` begins one and returns its SynthRun. A change of the mask during an automatic generation
    cancels it and starts another one. A generation that the user started is never touched: the update waits for it.
    ``active``: whether a segmentation is being watched.
    """

    def __init__(self, start: Start, manualRun: Callable[[Any], Any], jobs: Any, clock: Clock = time.monotonic) -> None:
        self._start, self._manualRun, self._jobs = start, manualRun, jobs
        self._watch = SegmentationWatch(QUIET_SECONDS, clock)
        self._ask: Ask | None = None
        self._due = False
        self.run: Any = None
        self.message = ""
        self.active = False

    def observe(self, segmentationNode: Any, ask: Ask | None = None) -> None:
        """Watch a segmentation, or None to stop. ``ask`` tells inputs and options at the time, None for "not now"."""
        if self._ask is not None and segmentationNode is self._watch.node:
            self._ask = ask or self._ask
            return
        self._watch.observe(segmentationNode)
        self._ask = ask if segmentationNode is not None else None
        self.active = self._ask is not None
        self._due = False
        if self._ask is None:
            self._cancelOwn()

    def tick(self) -> None:
        """Called regularly by the service."""
        if self._watch.pending:
            self._cancelOwn()  # what is being made is out of date already
        if self._watch.tick():
            self._due = True
        free = (self.run is None or self.run.finished) and self._manualRun(self._watch.node) is None
        if not (self._due and self._ask is not None and free):
            return
        self._due = False
        try:
            wanted = self._ask()
            if wanted is not None:
                self.run = self._start(*wanted)
                self.run.observers.append(self._onRun)
                self.message = ""
        except MedDDPMError as exc:
            self.message = sentenceOf(exc)

    def _onRun(self, run: Any) -> None:
        if run.state is State.FAILED:
            self.message = run.message
        elif run.state is State.DONE:  # only the newest automatic sample stays, unless the user took it over
            new = {node.GetID() for node in run.volumes}
            for sample in samplesOf(run.inputs.segmentation):
                if sample.automatic and not new & {v.GetID() for v in sample.volumes}:
                    discardSample(sample, self._jobs)

    def _cancelOwn(self) -> None:
        if self.run is not None and not self.run.finished:
            self.run.cancel()


def previewOptions(options: SynthOptions, model: Any) -> SynthOptions:
    """The options of an automatic generation: one sample of preview quality, on this computer."""
    sampler, steps = samplerAndSteps(Quality.PREVIEW, model)
    return replace(options, samples=1, sampler=sampler, steps=steps, on="", verify=UNVERIFIED, best_of=1)
