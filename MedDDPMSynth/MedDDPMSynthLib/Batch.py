"""Many masks, one after the other; a bad one does not stop the others."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import atomic_path, read_json
from medddpm.jobs.events import State
from medddpm.jobs.folder import JobFolder
from MedDDPMSlicerLib.Job import Job, Steps
from MedDDPMSlicerLib.Models import ModelDescription, ModelLibrary
from MedDDPMSlicerLib.SegmentMasks import composeLabels
from MedDDPMSlicerLib.SegmentReading import readSegments
from MedDDPMSlicerLib.Texts import _
from MedDDPMSlicerLib.Volumes import saveVolume, volumeOf

from .BatchItems import BatchItem, itemsOf
from .Import import MAX_PROVENANCE_BYTES, PROVENANCE, SceneRecord
from .Options import SynthInputs, SynthOptions, withWidget
from .Request import RequestFiles, checkOptions, exportReference, ownLabels, requestOf

# One more than the worker computes, so that it never waits for us.
AT_ONCE = 2


class BatchCase(Job):
    """A case of a batch: ``item``, ``state`` and ``message`` (a sentence where there is something to say).

    IMPORTING: its files are moved to the folder ``output``, the record last. ``invented``: brain or head are not the
    patient's, since neither the mask nor an image shows them.
    """

    def __init__(self, item: BatchItem, output: Path, jobs: Any) -> None:
        self.item, self.name, self.output = item, item.name, output
        self.invented, self._model = False, ""
        super().__init__(jobs, take=self._deliver)

    @property
    def status(self) -> str:
        """The state in a word or two; an invented brain is not the same as done."""
        return _("brain invented") if self.invented and self.state is State.DONE else str(self.state.value)

    @property
    def sheet(self) -> Path | None:
        """The contact sheet of its first sample; None before there is one."""
        return next(iter(sorted(self.output.glob("*_sample-*.png"))), None) if self.state is State.DONE else None

    @property
    def begun(self) -> bool:
        """Whether it has left the beginning."""
        return self._task is not None or self.folder is not None or self.finished

    def start(self, inputs: SynthInputs, options: SynthOptions, model: ModelDescription, storage: Any) -> None:
        """Prepare the mask and submit the job. ``inputs``: what gives the anatomy."""
        self._model = options.model
        self.begin(self._prepare(inputs, options, model, storage))

    def onSubmitted(self, folder: JobFolder) -> None:
        """See Job."""
        SceneRecord(self.name, model=self._model, output=str(self.output)).write(folder)

    def sentence(self, state: State, message: str) -> str:
        """See Job."""
        if state is State.CANCELLED:
            return ""
        if state is State.DONE:
            return " ".join(dict.fromkeys(self.warnings))
        return withWidget(message or _("The case failed."), self.option)

    def _deliver(self, outputs: Path) -> Steps:
        for record in outputs.glob(f"*/{PROVENANCE}"):
            self.invented = read_json(record, MAX_PROVENANCE_BYTES, "").get("outline_invented") is True
        yield
        return (yield from deliver(outputs, self.output))

    def _prepare(self, inputs: SynthInputs, options: SynthOptions, model: ModelDescription, storage: Any) -> Steps:
        labels, mask = None, self.item.source
        if not isinstance(mask, Path):
            node = mask
            # Results are named after the file of the mask.
            safe, number = re.sub(r"[^\w.+-]+", "_", self.name).strip("._") or "case", 1
            mask = storage.exchange / f"{safe}.nrrd"
            while mask.exists():
                number += 1
                mask = storage.exchange / f"{safe}-{number}.nrrd"
            if node.IsA("vtkMRMLSegmentationNode"):
                readSegments(node, model.config.scheme)
                volume, labels = composeLabels(node, model.config.scheme), ownLabels(model)
            elif node.IsA("vtkMRMLScalarVolumeNode"):
                volume = volumeOf(node)  # what its values mean is recognized
            else:
                raise InputError(_("This item of the sequence is neither a segmentation nor a label map."))
            yield
            saveVolume(volume, mask)
        yield
        files = RequestFiles(mask, self.item.image)
        yield from exportReference(inputs, model, storage, files, None)
        return "synthesis", {**requestOf(options, model, files), "labels": labels, "compress": True}


class BatchRun:
    """A batch; ``SynthService`` makes it and calls ``tick``, which begins the next case.

    ``rows`` is the table. Results of each case go to a folder of its name in ``output``. Without a ``model`` there are
    only cases that were begun.
    """

    def __init__(
        self,
        rows: Sequence[BatchCase],
        output: Path,
        inputs: SynthInputs,
        options: SynthOptions,
        model: ModelDescription | None,
        storage: Any,
    ) -> None:
        self.rows = list(rows)
        self.output = output
        self._inputs, self._options, self._model, self._storage = inputs, options, model, storage
        self._started = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether every case has ended."""
        return all(row.finished for row in self.rows)

    @property
    def progress(self) -> float:
        """Share that is done, 0 to 1."""
        return sum(1.0 if row.finished else row.progress or 0.0 for row in self.rows) / len(self.rows)

    @property
    def secondsLeft(self) -> float | None:
        """Expected seconds, from the pace so far; None before there is one."""
        if self.finished or self.progress < 0.01:
            return None
        return (time.monotonic() - self._started) * (1 / self.progress - 1)

    @property
    def message(self) -> str:
        """One sentence on the whole."""
        states = [row.state for row in self.rows]
        said = f"{states.count(State.DONE)} of {len(states)} cases done"
        invented = sum(row.invented for row in self.rows)
        said += f" ({invented} with an invented brain)" if invented else ""
        for state in (State.FAILED, State.CANCELLED):
            said += f", {states.count(state)} {state}" if state in states else ""
        return f"{said}."

    def cancel(self) -> None:
        """End it within one sampling step; cases that are done stay."""
        for row in reversed(self.rows):  # the waiting ones first, so that none is begun meanwhile
            row.cancel()

    def tick(self) -> None:
        """Begin the next case where there is room."""
        going = sum(row.begun and not row.finished for row in self.rows)
        waiting = next((row for row in self.rows if not row.begun), None)
        if waiting is not None and going < AT_ONCE and self._model is not None:
            waiting.start(self._inputs, self._options, self._model, self._storage)


def newBatch(
    source: Any,
    output: Path,
    inputs: SynthInputs,
    options: SynthOptions,
    library: ModelLibrary,
    storage: Any,
    jobs: Any,
) -> BatchRun:
    """A batch of the masks in a folder (Path), of the items of a sequence node, or of a list of ``BatchItem``.

    ``inputs``: what gives the anatomy. Raises InputError where there is no mask, the model cannot be used, or
    ``output`` cannot be written.
    """
    model = library.describe(options.model)
    checkOptions(options, model)
    items = source if isinstance(source, list) else itemsOf(source)
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".medddpm-probe"
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise InputError(f"The folder {output} cannot be written: {exc.strerror or exc}. Choose another.") from exc
    rows = [BatchCase(item, output / item.name, jobs) for item in items]
    return BatchRun(rows, output, inputs, options, model, storage)


def deliver(outputs: Path, target: Path) -> Generator[None, None, int]:
    """Steps that move the files of a job's only case to ``target``, the record last; they return how many.

    Raises InputError where a file cannot be written. A file of the same name is replaced.
    """
    folders = [path for path in outputs.iterdir() if path.is_dir() and not path.is_symlink()]
    if len(folders) != 1:
        raise InputError(_("The job produced no results. Run the case again."))
    files = sorted(path for path in folders[0].rglob("*") if path.is_file() and not path.is_symlink())
    files.sort(key=lambda path: path.name == PROVENANCE)
    for path in files:
        place = target / path.relative_to(folders[0])
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)  # at once, on the same disk
        except OSError:
            with atomic_path(place) as temporary:
                shutil.copyfile(path, temporary)
        yield
    return len(files)
