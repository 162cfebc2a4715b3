"""What a user sees of a generation."""

from __future__ import annotations

import re
from typing import Any

from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.Display import NodeList
from MedDDPMSlicerLib.Jobs import JobState
from MedDDPMSlicerLib.PlainSentences import plainSentence

from .Options import SynthInputs, SynthOptions
from .Preview import PreviewFollower
from .State import Outcome, SynthState

# What the core calls the frames of a growth series.
_OF_FRAME = re.compile(r"^frame-\d+: ")
# What the stages of a job are called here.
STAGES = {
    "load": "Loading the model",
    "estimate": "Estimating the time",
    "prepare": "Preparing the mask",
    "sample": "Sampling",
    "write": "Writing the images",
}


class RunReport(Observed):
    """The readable side of ``SynthRun``.

    ``inputs``, ``options`` and ``automatic`` are what was asked; ``caseName`` what the results are called; ``handle``
    its job, once there is one; ``message`` a sentence; ``resultItem`` the hierarchy folder of the results.
    """

    def __init__(self, inputs: SynthInputs, options: SynthOptions, automatic: bool) -> None:
        super().__init__()
        self.inputs, self.options, self.automatic = inputs, options, automatic
        self.caseName: str = inputs.segmentation.GetName()
        self.outcome: Outcome | None = None
        self.message = "Preparing the mask"
        self.handle: Any = None
        self.resultItem = 0
        self._state = SynthState.PREPARING
        self._made = NodeList()
        self._preview: PreviewFollower | None = None
        self._details = ""
        self._warnings: list[str] = []
        self._words: dict[str, str] = {}

    @property
    def state(self) -> SynthState:
        """Where it is."""
        return self._state

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.outcome is not None

    @property
    def settled(self) -> bool:
        """Whether it has ended and all observers know."""
        return self.finished and not self._changed

    @property
    def jobName(self) -> str:
        """The name of its job's folder; empty before there is one."""
        return self.handle.folder.path.name if self.handle is not None else ""

    @property
    def volumes(self) -> list[Any]:
        """The volume nodes that it made and that are still in the scene."""
        return self._made.inScene()

    @property
    def previewVolume(self) -> Any:
        """The volume node with the current picture; None where there is none."""
        return self._preview.node if self._preview is not None else None

    @property
    def step(self) -> int | None:
        """Sampling steps done, of ``total``; None before the first."""
        return self.handle.step if self.handle is not None else None

    @property
    def total(self) -> int | None:
        """Sampling steps of all samples together."""
        return self.handle.total if self.handle is not None else None

    @property
    def secondsLeft(self) -> float | None:
        """Expected seconds until the images are computed; None where unknown."""
        return self.handle.secondsLeft if self.handle is not None and self._state is SynthState.SAMPLING else None

    @property
    def progress(self) -> float | None:
        """Share of the sampling that is done, 0 to 1; None where unknown."""
        if self.outcome is Outcome.DONE or self._state is SynthState.IMPORTING:
            return 1.0
        return self.step / self.total if self.step is not None and self.total else None

    @property
    def stage(self) -> str:
        """What is being done, in a few words; empty at the end."""
        if self._state is SynthState.SAMPLING:
            return self._samplingStage()
        return {
            SynthState.PREPARING: "Preparing the mask",
            SynthState.IMPORTING: "Loading the images",
            SynthState.CANCELLING: "Cancelling",
        }.get(self._state, "")

    @property
    def warnings(self) -> list[str]:
        """Sentences on the mask and on what was done with it."""
        said = self._warnings or (self.handle.warnings if self.handle is not None else ())
        if self.options.frames > 1:  # most is true of every frame
            said = dict.fromkeys(_OF_FRAME.sub("", sentence) for sentence in said)
        return [plainSentence(sentence, self._words) for sentence in said]

    def details(self) -> str:
        """Technical detail for a box that the user can open: the logs of job and worker."""
        return self._details or (self.handle.details() if self.handle is not None else "")

    def raiseFailure(self) -> None:
        """Raise MedDDPMError with the sentence of a run that failed; for scripts."""
        if self.outcome is Outcome.FAILED:
            raise MedDDPMError(self.message)

    def _samplingStage(self) -> str:
        if self.handle.state is JobState.WAITING:
            return "Waiting for the background process"
        name = STAGES.get(self.handle.stage or "load", "Sampling")
        count = self.options.samples * self.options.frames
        if self.handle.stage != "sample" or count == 1 or self.step is None or not self.total:
            return name
        return f"{name} image {min(count, 1 + int(self.step * count / self.total))} of {count}"
