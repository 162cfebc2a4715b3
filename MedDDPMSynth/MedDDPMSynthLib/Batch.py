"""Many masks, one after the other; a bad one does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.synthesis.names import case_names, masks_in
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.Models import ModelDescription, ModelLibrary

from .BatchCase import BatchCase, CaseState
from .Options import SynthInputs, SynthOptions
from .Request import checkOptions
from .State import SynthState

# One more than the worker computes, so that it never waits for us.
AT_ONCE = 2


class BatchRun(Observed):
    """A batch; ``SynthService`` makes it and calls ``tick``.

    ``rows`` is the table (``BatchCase``: name, state, message). Results of each case go to a folder of its name in
    ``output``, file by file, the record last.
    """

    def __init__(
        self,
        rows: Sequence[BatchCase],
        output: Path,
        inputs: SynthInputs,
        options: SynthOptions,
        model: ModelDescription | None,
        storage: Any,
        jobs: Any,
    ) -> None:
        super().__init__()
        self.rows = list(rows)
        self.output = output
        self._inputs, self._options, self._model = inputs, options, model
        self._storage, self._jobs = storage, jobs
        self._started = time.monotonic()
        self._cancelled = False
        self._told: list[Any] = []

    @property
    def finished(self) -> bool:
        """Whether every case has ended."""
        return all(row.finished for row in self.rows)

    @property
    def state(self) -> SynthState:
        """SAMPLING while it runs, CANCELLING after a cancel, IDLE at the end."""
        if self.finished:
            return SynthState.IDLE
        return SynthState.CANCELLING if self._cancelled else SynthState.SAMPLING

    @property
    def progress(self) -> float:
        """Share that is done, 0 to 1."""
        return sum(row.progress for row in self.rows) / len(self.rows)

    @property
    def secondsLeft(self) -> float | None:
        """Expected seconds, from the pace so far; None before there is one."""
        if self.finished or self.progress < 0.01:
            return None
        return (time.monotonic() - self._started) * (1 / self.progress - 1)

    @property
    def message(self) -> str:
        """One sentence on the whole."""
        counts = {state: sum(row.state is state for row in self.rows) for state in CaseState}
        done, failed = counts[CaseState.DONE], counts[CaseState.FAILED]
        said = f"{done} of {len(self.rows)} cases done"
        said += f", {failed} failed" if failed else ""
        said += f", {counts[CaseState.CANCELLED]} cancelled" if counts[CaseState.CANCELLED] else ""
        return f"{said}."

    def cancel(self) -> None:
        """End it within one sampling step; cases that are done stay."""
        self._cancelled = True
        for row in reversed(self.rows):  # the waiting ones first, so that none is begun meanwhile
            row.cancel()
        self._tellChanges()

    def tick(self) -> None:
        """Work for some milliseconds."""
        active = [row for row in self.rows if row.active]
        waiting = [row for row in self.rows if row.state is CaseState.WAITING]
        if waiting and len(active) < AT_ONCE and not self._cancelled and self._model is not None:
            waiting[0].begin(self._inputs, self._options, self._model, self._storage, self._jobs)
            active.append(waiting[0])
        for row in active:
            row.tick()
        self._tellChanges()

    def _tellChanges(self) -> None:
        now = [(row.state, row.message, round(row.progress, 3)) for row in self.rows]
        if now == self._told:
            return
        self._told = now
        self.changed()
        self.notify()


def newBatch(
    source: Any,
    output: Path,
    inputs: SynthInputs,
    options: SynthOptions,
    library: ModelLibrary,
    storage: Any,
    jobs: Any,
) -> BatchRun:
    """A batch of the masks in a folder (Path), or of the items of a sequence node; ``inputs``: what gives the anatomy.

    Raises InputError where there is no mask, the model cannot be used, or ``output`` cannot be written.
    """
    model = library.describe(options.model)
    checkOptions(options, model)
    named = _files(source) if isinstance(source, Path) else _items(source)
    _makeFolder(output)
    rows = [BatchCase(name, item, output / name) for name, item in named]
    return BatchRun(rows, output, inputs, options, model, storage, jobs)


def _files(folder: Path) -> list[tuple[str, Path]]:
    try:
        masks = masks_in(folder)
    except OSError as exc:
        raise InputError(f"The folder {folder} cannot be read: {exc.strerror or exc}. Choose another.") from exc
    if not masks:
        raise InputError(f"There is no mask in {folder}: no .nii.gz, .nii, .nrrd, .seg.nrrd or .mha file.")
    return list(zip(case_names(masks), masks, strict=True))


def _items(sequenceNode: Any) -> list[tuple[str, Any]]:
    count = sequenceNode.GetNumberOfDataNodes()
    if not count:
        raise InputError("The sequence is empty. Choose another, or a folder of masks.")
    digits = len(str(count))
    name = sequenceNode.GetName()
    return [(f"{name}_{n + 1:0{digits}d}", sequenceNode.GetNthDataNode(n)) for n in range(count)]


def _makeFolder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".medddpm-probe"
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise InputError(f"The folder {folder} cannot be written: {exc.strerror or exc}. Choose another.") from exc
