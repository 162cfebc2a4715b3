"""The masks of a batch and the images that belong to them, paired by their names as a preparation pairs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.preparation.facts import ERROR, SourceScan, in_order
from medddpm.preparation.scan import scan_source
from medddpm.synthesis.names import case_names, masks_in
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import ask, nothingAsked, readScan
from MedDDPMSlicerLib.Texts import _, counted, sentenceOf

SEARCHING = _("The folder is being searched for masks. One moment.")
# What the scan of a source says of cases that a batch does not mind.
_NO_MATTER = ("no-images", "missing-modality", "grid-mismatch", "no-mask")


@dataclass
class BatchItem:
    """A mask of a batch: a file, or the node of a sequence (None where it is not known any more).

    ``images``: the files that its name tells to belong to it, by modality; ``image``: the one that shows its brain or
    head where the mask has none. ``used``: it is generated. ``problem``: a sentence where something is wrong with it.
    """

    name: str
    source: Any
    images: dict[str, Path] = field(default_factory=dict)
    image: Path | None = None
    used: bool = True
    problem: str = ""

    @property
    def place(self) -> str:
        """The file's whole path, or the node's name; the name of the case where the mask is not known any more."""
        if isinstance(self.source, Path):
            return str(self.source)
        return str(self.source.GetName()) if self.source is not None else self.name


@dataclass(frozen=True)
class BatchList:
    """What a folder or sequence holds, and a sentence on how masks and images were told."""

    items: tuple[BatchItem, ...] = ()
    sentence: str = ""


def listOf(scan: SourceScan, folder: Path) -> BatchList:
    """The masks of a scanned folder, each with its images; the first of the usual contrasts shows the brain."""
    problems: dict[str | None, list[str]] = {}
    for problem in scan.problems:
        if problem.code not in _NO_MATTER and problem.severity == ERROR:
            problems.setdefault(problem.case, []).append(problem.sentence)
    items = []
    for case in scan.cases:
        images = {name: Path(case.images[name]) for name in in_order(case.images)}
        if case.mask is not None:
            said = " ".join(problems.pop(case.id, ()))
            items.append(BatchItem(case.id, Path(case.mask), images, next(iter(images.values()), None), not said, said))
    if not items:
        raise InputError(_("There is no mask in {folder} that belongs to a case.").format(folder=folder))
    paired = sum(item.image is not None for item in items)
    told = [_("{counted} found, {paired} with an image.").format(counted=counted(len(items), "mask"), paired=paired)]
    without = len(scan.cases) - len(items)
    told += [_("{counted} without a mask left out.").format(counted=counted(without, "case"))] if without else []
    told += [text for texts in problems.values() for text in texts][:3]
    return BatchList(tuple(items), " ".join(told))


def plainList(folder: Path) -> BatchList:
    """Every file of a folder as a mask. Raises InputError where there is none, or the folder cannot be read."""
    try:
        masks = masks_in(folder)
    except OSError as exc:
        raise InputError(
            _("The folder {folder} cannot be read: {value}. Choose another.").format(
                folder=folder, value=exc.strerror or exc
            )
        ) from exc
    if not masks:
        raise InputError(
            _("There is no mask in {folder}: no .nii.gz, .nii, .nrrd, .seg.nrrd or .mha file.").format(folder=folder)
        )
    items = [BatchItem(name, mask) for name, mask in zip(case_names(masks), masks, strict=True)]
    return BatchList(
        tuple(items),
        _(
            "{counted} found. Their names do not tell masks from images, so each is taken for a mask "
            "without an image. Uncheck those that are none; choose images in the table."
        ).format(counted=counted(len(items), "file")),
    )


def sequenceList(node: Any) -> BatchList:
    """The items of a sequence. Raises InputError where it has none."""
    count, name = node.GetNumberOfDataNodes(), node.GetName()
    if not count:
        raise InputError(_("The sequence is empty. Choose another, or a folder of masks."))
    names = [f"{name}_{n + 1:0{len(str(count))}d}" for n in range(count)]
    return BatchList(tuple(BatchItem(one, node.GetNthDataNode(n)) for n, one in enumerate(names)))


def itemsOf(source: Any) -> Sequence[BatchItem]:
    """The masks of a folder (Path) or sequence node, looked at here and now. Raises InputError where it has none."""
    if not isinstance(source, Path):
        return sequenceList(source).items
    try:
        return listOf(scan_source(source), source).items
    except InputError:
        return plainList(source).items


class BatchTable:
    """What the table of a batch shows before it begins; ``jobs``: the JobMonitor that looks at folders.

    ``source`` is a folder (Path), a sequence node, or None; ``listed``: what it holds; ``problem``: why it cannot be
    used.
    """

    def __init__(self, jobs: Any) -> None:
        self.source: Any = None
        self.listed, self.problem = BatchList(), ""
        self._job: Job = nothingAsked(jobs)

    @property
    def busy(self) -> bool:
        """Whether a folder is being looked at."""
        return not self._job.finished

    @property
    def used(self) -> list[BatchItem]:
        """The items that are to be generated."""
        return [item for item in self.listed.items if item.used]

    def look(self, source: Any) -> None:
        """Look at another source, or once more; what was changed in the table is lost."""
        self.source, self.listed, self.problem = source, BatchList(), ""
        self._job.cancel()
        if isinstance(source, Path):
            request = {"source": str(source.expanduser().absolute()), "layout": "auto", "table": None}
            self._job = ask(self._job, "scan", request, readScan, self._onScanned, lambda _: self._take(plainList))
        elif source is not None:
            self._take(sequenceList)

    def blockedReason(self) -> str | None:
        """A sentence that says why what the table shows cannot begin; None where it can."""
        if self.busy:
            return SEARCHING
        if self.problem:
            return self.problem
        return None if self.used or not self.listed.items else _("No mask is checked in the table.")

    def _onScanned(self, scan: SourceScan) -> None:
        # A folder of scans in an unknown layout can still be one of masks.
        self._take((lambda folder: listOf(scan, folder)) if any(case.mask for case in scan.cases) else plainList)

    def _take(self, listing: Any) -> None:
        try:
            self.listed = listing(self.source)
        except InputError as exc:
            self.problem = sentenceOf(exc)
