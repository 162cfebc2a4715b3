"""The mask check and the making of outlines as jobs; without torch, and without nibabel but for NIfTI files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..anatomy.placement import brain_around
from ..config import from_dict
from ..errors import InputError
from ..files import write_text
from ..geometry.io import read_mask, read_volume
from ..geometry.itk import write_nrrd
from ..geometry.volume import Segment
from ..jobs.folder import JobFolder
from ..models.places import find_config
from ..progress import Reporter
from .check import check_mask, mend_mask
from .conventions import BRAIN, HEAD, parse_labels
from .findings import CheckResult, Finding
from .outline import brain_from_image, brain_in_scan, head_from_image

FINDINGS_NAME, FIXED_NAME, OUTLINE_NAME = "findings.json", "fixed.nrrd", "outline.nrrd"


@dataclass(frozen=True)
class CheckRequest:
    """A check of the file ``mask`` for ``model``; ``image`` and ``labels`` as in ``SynthesisRequest``.

    ``names`` are those of its values ("1": "Edema"), for a file that has none. With ``fix`` the mask is put right as
    well; ``fix_codes`` names the findings to be cleaned up, None means all.
    """

    mask: str
    model: str = "demo"
    image: str | None = None
    labels: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    fix: bool = False
    fix_codes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class OutlineRequest:
    """The outline of a ``kind`` ("brain" or "head") in the file ``image``."""

    image: str
    kind: str = BRAIN

    def __post_init__(self) -> None:
        if self.kind not in (BRAIN, HEAD):
            raise InputError(f"An outline of the {self.kind!r} cannot be made; ask for the brain or the head.")


def check(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Check a mask: ``outputs/findings.json``, and where asked for the mended mask as ``outputs/fixed.nrrd``.

    ``findings.json`` holds ``usable`` and ``findings``, each with code, severity, sentence, fixable and fix, and how
    the values were read: ``mapping`` ("file value": scheme value) and ``convention``, a clause; after a fix both are
    empty, the findings are those that are left, and ``fixed`` lists what was put right. The mended mask has the values
    of the model's label scheme on the grid of the input; there is none of a file that is no mask, such as a gray-level
    image. Raises InputError where a file cannot be used.
    """
    wanted: CheckRequest = from_dict(CheckRequest, request, "The job's request")
    reporter.stage("check", "Checking the mask")
    config = find_config(wanted.model)
    mask = read_mask(Path(wanted.mask), single_slice=wanted.image is not None)
    if wanted.names:
        mask = replace(mask, segments=tuple(Segment(int(v), name, "") for v, name in wanted.names.items()))
    image = read_volume(Path(wanted.image)) if wanted.image else None
    labels = parse_labels(wanted.labels) if wanted.labels else None
    reporter.check_cancelled()
    if not wanted.fix:
        _write_findings(folder, check_mask(mask, config, image, labels, brain_around), ())
        return
    mended, done, left = mend_mask(mask, config, image, labels, wanted.fix_codes, brain_around)
    if mended.volume.data.any():  # nothing is left of a file that is no mask at all, and that mends nothing
        write_nrrd(folder.output(FIXED_NAME), mended.volume.data, mended.volume.affine)
    _write_findings(folder, left, done)


def outline(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Make the outline of brain or head from an MRI: ``outputs/outline.nrrd``, 1 inside, on the image's grid.

    Raises InputError where the image shows none.
    """
    wanted: OutlineRequest = from_dict(OutlineRequest, request, "The job's request")
    reporter.stage("outline", f"Looking for the {wanted.kind}")
    image = read_volume(Path(wanted.image))
    reporter.check_cancelled()
    if wanted.kind == HEAD:
        found = head_from_image(image.data, image.spacing)
    else:
        found = brain_from_image(image.data, image.spacing)
        head = head_from_image(image.data, image.spacing) if found is None else None
        if head is not None:
            reporter.check_cancelled()
            found, seen = brain_in_scan(image.data, head, image.affine)
            how = "found in it by its brightness" if seen else "only estimated under scalp and skull, which is rough"
            advice = "Look at its border and correct it, or take a skull-stripped image (SynthStrip, HD-BET)."
            reporter.warning(f"The image shows the whole head. The brain was {how}. {advice}")
    if found is None or not found.any():
        raise InputError(f"No {wanted.kind} stands out in the image from what is around it. Paint it by hand.")
    write_nrrd(folder.output(OUTLINE_NAME), found.astype(np.uint8), image.affine)


def _write_findings(folder: JobFolder, left: CheckResult, done: tuple[Finding, ...]) -> None:
    data = {
        "usable": left.usable,
        "findings": [asdict(finding) for finding in left.findings],
        "fixed": [asdict(finding) for finding in done],
        "mapping": {str(value): target for value, target in left.mapping.items()},
        "convention": left.convention,
    }
    write_text(folder.output(FINDINGS_NAME), json.dumps(data, indent=1) + "\n")
