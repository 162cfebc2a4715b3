"""The mask check while painting: findings of the core on the mask as it is, and their fixes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.labels.findings import Finding
from medddpm.labels.scheme import LabelScheme
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.Job import Job, Steps
from MedDDPMSlicerLib.Models import ModelDescription, ModelLibrary
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from MedDDPMSlicerLib.SegmentReading import (
    WHERE,
    NumberedMask,
    numberedMask,
    requireTumorKnown,
    takeGuesses,
    unusedSegments,
)
from MedDDPMSlicerLib.Segments import segmentReading
from MedDDPMSlicerLib.Volumes import saveVolume

from .Request import exportVolume, ownLabels, requestedModel
from .Watch import Clock, SegmentationWatch

QUIET_SECONDS = 1.0
FINDINGS, FIXED = "findings.json", "fixed.nrrd"
MAX_BYTES, MAX_FINDINGS = 4 * 2**20, 200
# How the core says what it read; here segments are named, and what is not read is told of each.
_READING, _UNREAD = ("convention", "mapping"), ("unknown-values", "unclear-labels")


class LiveCheck(Observed):
    """Checks the mask of one segmentation whenever it has changed and the hand rests.

    ``findings`` are those of the last check, ``checking`` tells that a newer one is on its way, ``message`` is a
    sentence where there can be none (an empty mask, a model that is gone). ``active``: whether there is a segmentation.
    Segments that neither tag nor name explains are read by the check, as those of a file are.
    """

    def __init__(self, storage: Any, jobs: Any, library: ModelLibrary, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self.findings: list[Finding] = []
        self.message = ""
        self.active = False
        self._storage, self._jobs, self._library = storage, jobs, library
        self._watch = SegmentationWatch(QUIET_SECONDS, clock)
        self._reference: Any = None
        self._modelKey = ""
        self._job: Job | None = None
        self._numbered: NumberedMask | None = None
        self._unusable = ""

    def refusal(self, segmentationNode: Any) -> str | None:
        """Why nothing can be made of a segmentation, as far as it was checked; None where nothing is known against."""
        if not self._unusable or segmentationNode is not self._watch.node:
            return None
        return "The mask is being checked. One moment." if self.checking else self._unusable

    @property
    def revision(self) -> int:
        """Another number after each change of the mask; what was said of an earlier one need not be true any more."""
        return self._watch.revision

    @property
    def checking(self) -> bool:
        """Whether a check or a fix is on its way, or about to begin."""
        return self._watch.pending or (self._job is not None and not self._job.finished)

    def observe(self, segmentationNode: Any, referenceVolume: Any = None, modelKey: str = "demo") -> None:
        """Check another segmentation, or None; ``referenceVolume`` is the MRI that belongs to it, if any."""
        same = segmentationNode is self._watch.node and modelKey == self._modelKey
        if same and referenceVolume is self._reference:
            return
        self.stop()
        self._reference, self._modelKey = referenceVolume, modelKey
        self._watch.observe(segmentationNode)
        self.active = segmentationNode is not None
        if self.active:
            self._watch.touch()

    def touch(self) -> None:
        """Check again after a rest: what the segments show was changed."""
        if self._watch.node is not None:
            self._watch.touch()
            self.notify()

    def checkNow(self) -> None:
        """Check without waiting for a rest."""
        self._watch.settle()
        if self._watch.node is not None:
            self._begin(self._steps(None), self._takeFindings, lambda findings: self._tell(findings, ""))

    def fix(self, finding: Finding, saveUndo: Callable[[], None] | None = None) -> None:
        """Let the core put one finding right, and check again; ``saveUndo`` is called before the segments change."""
        self._fix([finding.code], saveUndo)

    def fixAll(self, saveUndo: Callable[[], None] | None = None) -> None:
        """Put right whatever can be, and check again."""
        self._fix([finding.code for finding in self.findings if finding.fixable], saveUndo)

    def stop(self) -> None:
        """End checking and forget the findings."""
        self._watch.observe(None)
        self.active, self._reference, self._unusable = False, None, ""
        self._endJob()
        self._tell([], "")

    def tick(self) -> None:
        """Called regularly by the service."""
        if self._watch.pending:
            self._endJob()  # what is being checked is out of date
        if self._watch.tick():
            self.checkNow()

    def _fix(self, codes: list[str], saveUndo: Callable[[], None] | None) -> None:
        if self._watch.node is None or not codes:
            return
        self._watch.settle()
        self._begin(self._steps(codes), lambda outputs: self._takeFixed(outputs, saveUndo))

    def _begin(
        self, steps: Steps, take: Callable[[Path], Steps], onDone: Callable[[Any], object] | None = None
    ) -> None:
        self._endJob()
        self._job = Job(self._jobs, steps, take, onDone, lambda sentence: self._tell([], sentence))
        self.changed()
        self.notify()

    def _endJob(self) -> None:
        if self._job is not None:
            self._job.cancel()
        self._job = None

    def _steps(self, codes: list[str] | None) -> Steps:
        model = self._library.describe(self._modelKey)
        segmentation, scheme = self._watch.node, model.config.scheme
        self._numbered = numberedMask(segmentation, scheme) if codes is None else None
        yield
        try:
            labels = composeLabels(segmentation, scheme) if self._numbered is None else self._numbered.volume
        except InputError as error:
            self._unusable = str(error)
            raise
        yield
        path = self._storage.exchangeFile(".nrrd")
        saveVolume(labels, path)
        yield
        request: dict[str, Any] = {
            "mask": str(path),
            "model": requestedModel(model),
            "image": None,
            "labels": ownLabels(model) if self._numbered is None else None,
            "names": {} if self._numbered is None else {str(n): name for n, name in self._numbered.names.items()},
            "fix": codes is not None,
        }
        if codes is not None:
            request["fix_codes"] = codes
        if self._reference is not None:
            request["image"] = str((yield from exportVolume(self._reference, segmentation, self._storage)))
        return "check", request

    def _takeFindings(self, outputs: Path) -> Steps:
        findings, mapping, convention = _readFindings(outputs / FINDINGS)
        yield
        node = self._watch.node
        if node is not None and node.GetScene() is not None:
            scheme = self._library.describe(self._modelKey).config.scheme
            if self._numbered is not None:
                takeGuesses(node, scheme, self._numbered, mapping, convention)
                findings = _ofSegments(findings)
            findings += _rolesOf(node, scheme)
        refused = [str(f) for f in findings if f.severity == "error" and not f.fixable]
        self._unusable = " ".join(refused)
        return findings

    def _takeFixed(self, outputs: Path, saveUndo: Callable[[], None] | None) -> Steps:
        from medddpm.geometry.io import read_mask

        segmentation = self._watch.node
        if segmentation is None or segmentation.GetScene() is None:
            return
        model: ModelDescription = self._library.describe(self._modelKey)
        fixed = read_mask(outputs / FIXED).volume
        yield
        if saveUndo is not None:
            saveUndo()
        applyLabels(segmentation, model.config.scheme, fixed)
        self._watch.touch()

    def _tell(self, findings: list[Finding], message: str) -> None:
        self.findings, self.message = findings, message
        self.changed()
        self.notify()


def _ofSegments(findings: list[Finding]) -> list[Finding]:
    """Findings on a numbered mask in words for its segments."""
    kept = [f for f in findings if f.code not in _READING and not (f.code in _UNREAD and f.fixable)]
    asked = (*_UNREAD, "assumption")
    return [Finding(f.code, f.severity, f.sentence, False, WHERE) if f.code in asked else f for f in kept]


def _rolesOf(node: Any, scheme: LabelScheme) -> list[Finding]:
    """What each segment is taken for, and which are not used."""
    found = [Finding("unused-segment", "warning", text, False, WHERE) for text in unusedSegments(node, scheme)]
    try:
        requireTumorKnown(node, scheme)
    except InputError as error:
        found.append(Finding("unclear-segments", "error", str(error)))
    reading = segmentReading(node, scheme)
    return [*found, Finding("segments", "info", reading)] if reading else found


def _readFindings(path: Path) -> tuple[list[Finding], dict[int, int], str]:
    """The findings, and how the mask's numbers were read."""
    problem = (
        "The result of the mask check could not be read. Uncheck 'Check the mask while I work' and check it again."
    )
    try:
        told = read_json(path, MAX_BYTES, problem)
        mapping = {int(number): int(value) for number, value in told["mapping"].items()}
        return [_finding(entry) for entry in told["findings"][:MAX_FINDINGS]], mapping, str(told["convention"])
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InputError(problem) from exc


def _finding(entry: dict[str, Any]) -> Finding:
    texts = [str(entry[name]) for name in ("code", "severity", "sentence")]
    return Finding(*texts, fixable=bool(entry.get("fixable", False)), fix=str(entry.get("fix", "")))
