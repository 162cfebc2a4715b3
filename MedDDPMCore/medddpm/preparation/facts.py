"""What is known of cases, as plain data: a source's files and what is wrong with them, the facts of prepared cases.

What the outlier check says of a case is a ``Flag``. Imports no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config import MODALITY
from ..parse import from_dict

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """A file's grid: voxels and spacing (mm) along the array axes, and the direction in which these grow ("LPS")."""

    shape: tuple[int, int, int]
    spacing: Triple
    orientation: str


@dataclass(frozen=True)
class Move:
    """How an image was moved to lie on another: millimeters that the middle of the head went, degrees of turning.

    ``onto``: the modality, or "template". ``gain``: how much more the two tell of each other than before (mutual
    information, nats; None where they did not overlap before). ``unusual``: too much for two images of one visit.
    """

    onto: str
    shift_mm: float
    rotation_degrees: float
    gain: float | None
    unusual: bool


@dataclass(frozen=True)
class ImageFacts:
    """One image. ``low`` to ``high`` are its intensities that became -1 to +1, in the units of the file.

    ``mean`` and ``std`` are of the scaled image, [-1, 1], inside the outline; ``surroundings`` is its median outside.
    ``histogram``: voxels inside the outline in equal bins of [-1, 1]. ``covered``: share of the outline that the image
    reaches; ``empty``: share of the outline, and ``tumor_empty`` of the tumor, in which it is as dark as nothing.
    ``sha256`` is the file's, ``voxels`` a hash of shape and values alone.
    """

    modality: str
    geometry: Geometry
    low: float
    high: float
    mean: float
    std: float
    surroundings: float
    histogram: tuple[int, ...]
    covered: float
    empty: float
    tumor_empty: float
    sha256: str
    voxels: str
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True)
class MaskFacts:
    """The mask as used. Sizes in milliliters and millimeters (right-left, front-back, foot-head).

    ``kind``: what it outlines, "brain" or "head". ``labels_ml``: scheme value -> volume. ``lost_ml`` and
    ``lost_share``: what of the head the grid cuts off; ``tumor_lost_ml`` the same of the tumor. ``made``: the outline
    was not in the file. ``geometry`` and ``sha256`` are None where there is no file; ``voxels`` is a hash of shape and
    values alone.
    """

    kind: str
    geometry: Geometry | None
    sha256: str | None
    outline_ml: float
    tumor_ml: float
    labels_ml: tuple[tuple[int, float], ...]
    extent_mm: Triple
    lost_ml: float
    lost_share: float
    tumor_lost_ml: float
    made: bool
    voxels: str


@dataclass(frozen=True)
class CaseFacts:
    """All that is known of one case.

    ``grid_affine``: where the model's grid lies, voxel -> RAS mm. ``findings``: what the mask check mended or warns of,
    each a code and a sentence.
    ``sentences``: what was found, mended, moved and cut, for reading. ``fingerprint``: what the first image looks like,
    coarsely (see ``preparation.duplicates``), to find cases that are alike.
    """

    id: str
    patient: str
    images: tuple[ImageFacts, ...]
    mask: MaskFacts
    grid_affine: tuple[tuple[float, ...], ...]
    findings: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Flag:
    """One thing about a case that a person should look at.

    ``code`` names it for programs. ``severity`` is "warning" (the case may harm the training: such cases are left out
    where that is asked for) or "info" (worth knowing). ``others``: ids of further cases that it is about.
    """

    code: str
    severity: str
    case: str
    sentence: str
    others: tuple[str, ...] = ()


ERROR, WARNING = "error", "warning"
IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# The names that this project uses for the usual sequences, in the order of the published four-modality model.
USUAL_MODALITIES = ("T1", "T1ce", "T2", "FLAIR")
_SPELLINGS = {
    "T1": ("t1", "t1w", "t1n", "t1native"),
    "T1ce": ("t1ce", "t1c", "t1gd", "t1post", "t1wce", "t1contrast"),
    "T2": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f", "t2flair", "flairw"),
}
# A case's number of the visit, after what names the patient: BraTS-GLI-00001-000 (2023 on), Brats18_TCIA02_370_1
# (2017 to 2019), BIDS. BraTS20_Training_001 and BraTS2021_00001 are patients of one visit.
_PATIENTS = (
    re.compile(r"(BraTS-[A-Z]+-\d+)-\d+", re.IGNORECASE),
    re.compile(r"(BraTS1[789]_(?!Training|Validation)[A-Z0-9]+_[A-Z0-9]+)_\d+", re.IGNORECASE),
    re.compile(r"(sub-[A-Z0-9]+)(?:_.*)?", re.IGNORECASE),
)
_CASE_ID = re.compile(r"\w[\w.+-]{0,127}")


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    ``id`` can be a file name; cases of one ``patient`` stay in one split. ``images``: modality -> file. ``mask`` is
    None where the source has none, ``split`` where it does not say.
    """

    id: str
    patient: str
    images: dict[str, Path]
    mask: Path | None
    split: str | None = None


@dataclass(frozen=True)
class SourceProblem:
    """Something wrong with a source: a stable ``code``, "error" or "warning", and a plain sentence.

    ``file`` is relative to the source where it lies inside of it. ``part``: the modality (or "mask") that it is about.
    """

    code: str
    severity: str
    sentence: str
    case: str | None = None
    file: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class SourceScan:
    """All that a look at a source tells, before any voxel is read.

    ``modalities``: those that any case has, in the order of ``USUAL_MODALITIES``, then by name. ``label_names``: what
    the source itself says of the values of its masks (value, name); usually nothing.
    """

    layout: str
    modalities: tuple[str, ...]
    cases: tuple[CaseFiles, ...]
    problems: tuple[SourceProblem, ...]
    label_names: tuple[tuple[int, str], ...] = ()

    @property
    def errors(self) -> tuple[SourceProblem, ...]:
        """The problems that keep the source from being prepared as it is."""
        return tuple(problem for problem in self.problems if problem.severity == ERROR)

    @classmethod
    def from_dict(cls, data: Any) -> SourceScan:
        """Parse ``scan.json``; ``images`` have texts then. Raises InputError."""
        return from_dict(cls, data, "The result of the scan")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, paths as text."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return data


def modality_name(text: str) -> str | None:
    """This project's name for a modality as others spell it ("t1gd": T1ce); other names that can be one stay.

    None for what cannot be part of a file name.
    """
    plain = re.sub(r"[\s_-]", "", text.strip()).casefold()
    for name, spellings in _SPELLINGS.items():
        if plain in spellings:
            return name
    return text.strip() if MODALITY.fullmatch(text.strip()) else None


def in_order(modalities: Iterable[str]) -> tuple[str, ...]:
    """Distinct modalities, the usual ones first."""
    found = set(modalities)
    usual = tuple(name for name in USUAL_MODALITIES if name in found)
    return (*usual, *sorted(found - set(usual)))


def patient_of(case_id: str) -> str:
    """The patient whom a case's name tells; the case itself where its name has no visit in it."""
    for pattern in _PATIENTS:
        found = pattern.fullmatch(case_id)
        if found:
            return found.group(1)
    return case_id


def is_case_id(text: str) -> bool:
    """Whether ``text`` can name a case: letters, digits and . + - _, not beginning with one of these marks."""
    return _CASE_ID.fullmatch(text) is not None and not text.endswith(".")


def without_ending(name: str) -> str | None:
    """A file name without the extension of an accepted image format; None where it has none."""
    for ending in IMAGE_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return None
